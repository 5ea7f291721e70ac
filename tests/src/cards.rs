//! Checks of cards: products as a list with pictures and prices shows them.

use http::StatusCode;

use crate::{Transport, get, send};

/// The cards of the dataset. Product 1 has several styles, 2 a default style that is not its first, 4 and 12 none, 7 a
/// style without photos and skus, and 9 none that is the default.
const CARDS: [(u32, &str); 7] = [
    (
        1,
        r#"{"id":1,"name":"Thistle Raincoat","category":"Coat","default_price":"185","original_price":"185","sale_price":null,"thumbnail_url":"https://photos.example/1?w=300&q=80","in_stock":true}"#,
    ),
    (
        2,
        r#"{"id":2,"name":"O'Hara's \"Plain\" Cap","category":"Cap","default_price":"22","original_price":"22","sale_price":"18","thumbnail_url":"https://photos.example/7?w=300&q=80","in_stock":true}"#,
    ),
    (
        4,
        r#"{"id":4,"name":"Größe Socks","category":"Socks","default_price":"0","original_price":null,"sale_price":null,"thumbnail_url":null,"in_stock":false}"#,
    ),
    (
        7,
        r#"{"id":7,"name":"Barge Boots","category":"Boots","default_price":"500000000","original_price":"500000000","sale_price":null,"thumbnail_url":null,"in_stock":false}"#,
    ),
    (
        9,
        r#"{"id":9,"name":"Tollgate Trousers","category":"Trousers","default_price":"64","original_price":"64","sale_price":null,"thumbnail_url":null,"in_stock":true}"#,
    ),
    (
        12,
        r#"{"id":12,"name":"Ferry Ticket Pocket","category":"Accessories","default_price":"5","original_price":null,"sale_price":null,"thumbnail_url":null,"in_stock":false}"#,
    ),
    (
        20,
        r#"{"id":20,"name":"Kiln Dress","category":"Dress","default_price":"118","original_price":"118","sale_price":null,"thumbnail_url":null,"in_stock":true}"#,
    ),
];

fn cards(ids: &[u32]) -> String {
    let card = |id: &u32| CARDS.iter().find(|(card, _)| card == id).unwrap().1;
    format!("[{}]", ids.iter().map(card).collect::<Vec<_>>().join(","))
}

async fn assert_cards(service: &impl Transport, query: &str, ids: &[u32]) {
    let response = get(service, &format!("/cards?{query}")).await;
    assert_eq!((response.status, response.text()), (StatusCode::OK, cards(ids)), "{query}");
    assert_eq!(response.header("content-type"), "application/json", "{query}");
}

/// A product that does not exist has no card, and one that is repeated has two.
pub async fn cards_are_in_the_order_of_their_ids(service: &impl Transport) {
    assert_cards(service, "ids=1,2,4,7,9,12,20", &[1, 2, 4, 7, 9, 12, 20]).await;
    assert_cards(service, "ids=20,3,2,7,2,2147483647,1", &[20, 2, 7, 2, 1]).await;
    assert_cards(service, "ids=9%2C4&ids=x&unknown=1", &[9, 4]).await;
    assert_cards(service, "ids=3", &[]).await;
    let hundred = vec!["4"; 100].join(",");
    assert_cards(service, &format!("ids={hundred}"), &[4; 100]).await;
}

/// The pages are those of the list of products, with its headers, and have at most 100 cards.
pub async fn a_page_of_cards_has_the_products_of_the_list(service: &impl Transport) {
    for (query, ids) in [
        ("", &[1, 2, 4, 7, 9][..]),
        ("page=2&count=3", &[7, 9, 12]),
        ("page=&count=", &[1, 2, 4, 7, 9]),
        ("page=3&count=3&page=1", &[20]),
        ("page=4&count=3", &[]),
        ("page=2147483647&count=100", &[]),
    ] {
        assert_cards(service, query, ids).await;
        let [page, list] = ["/cards", "/products"].map(|path| format!("{path}?{query}"));
        let (page, list) = (get(service, &page).await, get(service, &list).await);
        for header in ["x-total-count", "link"] {
            assert_eq!(page.header(header), list.header(header), "{query}");
        }
    }
    let response = get(service, "/cards?count=5000").await;
    assert_eq!(response.text(), cards(&[1, 2, 4, 7, 9, 12, 20]));
    assert_eq!(
        response.header("link"),
        "<?page=1&count=100>; rel=\"first\", <?page=1&count=100>; rel=\"last\""
    );
    let request = http::Request::head("/cards").header("if-none-match", "*");
    let response = send(service, request.body(bytes::Bytes::new()).unwrap()).await;
    assert_eq!((response.status.as_u16(), response.header("x-total-count")), (304, "7"));
}

/// Cards are by id or by page.
pub async fn ids_of_cards_that_are_not_one_to_a_hundred_ids_are_400(service: &impl Transport) {
    let too_many = vec!["4"; 101].join(",");
    for ids in
        ["", ",", "1,", ",1", "1,,2", "1;2", "1+2", "0", "01", "1.5", "abc", "1,2147483648", "%00", &too_many]
    {
        assert_eq!(get(service, &format!("/cards?ids={ids}")).await.status, 400, "{ids}");
    }
    for query in ["ids=1&page=1", "count=5&ids=1", "page=0", "count=0", "page=x"] {
        assert_eq!(get(service, &format!("/cards?{query}")).await.status, 400, "{query}");
    }
}
