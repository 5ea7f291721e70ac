//! The expected responses, derived a second time: with plain SQL over the seven tables. It shares only the tables with
//! the loader's own assembly of documents.

use tokio_postgres::Client;

use super::Document;

const DERIVATION: &str = r#"
select p.id,
    json_build_object('id', p.id, 'name', p.name, 'slogan', p.slogan, 'description', p.description,
        'category', p.category, 'default_price', p.default_price::text,
        'features', coalesce(
            (select json_agg(json_build_object('feature', f.feature, 'value', f.value) order by f.position)
             from catalog.features f where f.product_id = p.id),
            '[]'))::text,
    json_build_object('product_id', p.id::text, 'results', coalesce(
        (select json_agg(json_build_object('style_id', s.id, 'name', s.name,
                'original_price', s.original_price::text, 'sale_price', s.sale_price::text,
                'default?', s.is_default,
                'photos', coalesce(
                    (select json_agg(json_build_object('thumbnail_url', h.thumbnail_url, 'url', h.url)
                                     order by h.position)
                     from catalog.photos h where h.style_id = s.id),
                    '[{"thumbnail_url":null,"url":null}]'),
                'skus', coalesce(
                    (select json_object_agg(k.id, json_build_object('quantity', k.quantity, 'size', k.size)
                                            order by k.position)
                     from catalog.skus k where k.style_id = s.id),
                    '{"null":{"quantity":null,"size":null}}'))
            order by s.position)
         from catalog.styles s where s.product_id = p.id),
        '[]'))::text,
    coalesce(
        (select json_agg(r.related_product_id order by r.position)
         from catalog.related r where r.product_id = p.id),
        '[]')::text
from catalog.products p order by p.id"#;

/// Returns the expected documents of every product, in ascending order of id.
pub async fn derived(client: &Client) -> Vec<Document> {
    let rows = client.query(DERIVATION, &[]).await.unwrap();
    rows.iter()
        .map(|row| Document {
            product_id: row.get(0),
            product: compact(row.get(1)),
            styles: compact(row.get(2)),
            related: compact(row.get(3)),
        })
        .collect()
}

/// Returns JSON without the white space between its tokens, whose order is kept.
fn compact(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let keep = |c: &char| {
        if is_text {
            is_text = is_escaped || *c != '"';
            is_escaped = !is_escaped && *c == '\\';
            return true;
        }
        is_text = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[test]
fn compacting_keeps_strings() {
    assert_eq!(
        compact("{\"a b\" : [1, \"c \\\" d\", \"\\\\\" ,\n null]}"),
        r#"{"a b":[1,"c \" d","\\",null]}"#
    );
}
