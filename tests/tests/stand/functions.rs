//! The functions' own binaries, as Lambda runs them.

use std::ffi::OsString;
use std::sync::Arc;

use conformance::lambda::{Function, FunctionUrls, Functions, Gateway, Route};
use local::testing::Database;
use tokio::sync::OnceCell;

use super::SHARED_RUNTIME;

/// The functions that serve an endpoint.
pub const NAMES: [&str; 7] =
    ["list-products", "get-product", "get-styles", "get-related", "get-overview", "get-cart", "add-to-cart"];

/// Starts a function on a database, with these variables too.
pub async fn function(name: &str, database: &Database, further: &[(&str, &str)]) -> Function {
    let url = database.function_url(name).await.unwrap();
    let mut variables = vec![("DATABASE_URL", OsString::from(url))];
    variables.extend(further.iter().map(|(name, value)| (*name, value.into())));
    Function::start(&local::program(name).unwrap(), &variables, true).await
}

/// All functions over the hand-made dataset, one of each for all tests of a binary.
async fn functions() -> Arc<Functions> {
    static FUNCTIONS: OnceCell<Arc<Functions>> = OnceCell::const_new();
    let start = || async {
        let database = super::small().await.database.clone();
        let starting = async move {
            let mut functions = Functions::new();
            for name in NAMES {
                let function = function(name, &database, &[("LOG_ACCESS", "off")]).await;
                functions.insert(name.to_owned(), function);
            }
            let not_found = Function::start(&local::program("not-found").unwrap(), &[], false).await;
            functions.insert("not-found".to_owned(), not_found);
            Arc::new(functions)
        };
        SHARED_RUNTIME.spawn(starting).await.unwrap()
    };
    Arc::clone(FUNCTIONS.get_or_init(start).await)
}

/// The functions behind the HTTP API of the template.
pub async fn gateway() -> Gateway {
    Gateway::new(Route::all_of_the_template(), functions().await)
}

/// The functions behind URLs of their own.
pub async fn function_urls() -> FunctionUrls {
    FunctionUrls::new(gateway().await)
}
