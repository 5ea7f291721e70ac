-- The statements of the release before this one, a line each: its hosts and functions send them to a database that was
-- migrated already. In place of parameters they have values for which there is something to answer.
select product_id, generation, product, product_tag from catalog.documents where product_id = any('{1}')
select product_id, generation, styles, styles_tag from catalog.documents where product_id = any('{1}')
select product_id, generation, related, related_tag from catalog.documents where product_id = any('{1}')
select product_id, generation, product, styles, related from catalog.documents where product_id = any('{1}')
select id, name, slogan, description, category, default_price, generation from catalog.products where rank between 1::bigint and 5::bigint order by rank
select lines.sku_id, lines.count from cart.carts join cart.lines on lines.cart_id = carts.id where carts.owner = sha256('authorization\000Bearer kept') order by lines.added_id
select cart.add(sha256('authorization\000Bearer added'), 1, 2) from catalog.skus where id = 1
select current_setting('transaction_read_only') = 'on', latest.id, latest.at, latest.generation, (select at from etl.publication order by id limit 1) from (select) as one left join (select id, at, generation from etl.publication order by id desc limit 1) as latest on true
