'use strict';

// The addresses follow from that of this script, so that the page works below any base path.
const description = new URL('../openapi.json', document.currentScript.src).href;
const service = new URL('.', description).href.replace(/\/$/, '');

SwaggerUIBundle({
  url: description,
  domNode: document.getElementById('reference'),
  deepLinking: true,
  validatorUrl: null, // the default sends the address of the description to a server of Swagger's
  // "Try it out" sends its requests to the service that this page is from.
  responseInterceptor: (response) => {
    if (response.url === description && response.ok) {
      response.text = JSON.stringify({ ...JSON.parse(response.text), servers: [{ url: service }] });
    }
    return response;
  },
});
