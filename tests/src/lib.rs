//! A conformance suite for every transport: the guarantees of the HTTP contract, as named checks.

// A failed check is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod caching;
pub mod cards;
pub mod cart;
pub mod cart_lines;
pub mod catalog;
mod client;
pub mod hostile;
pub mod lambda;
pub mod methods;
pub mod pages;
pub mod problems;
pub mod refusals;
pub mod s3;

use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};

pub use client::{CheckedResponse, get, get_with, gunzip, send};
pub use refusals::RawTarget;

/// A way to send an HTTP request to the service.
pub trait Transport: Sync {
    /// Whether the transport decodes an id's `%31` to 1 before the service sees it, so that the service cannot reject
    /// it.
    const DECODES_PATHS: bool = false;

    /// Whether a proxy in front of the service returns 400 for a method in lower case, and for a repeated header that
    /// is usually sent once.
    const IS_STRICT: bool = false;

    /// Whether the transport serves the product page, and the reference `/docs` and `/openapi.json`: hosts do, functions do not.
    const HAS_PAGES: bool = false;

    /// Sends one request, and returns its response. Panics if there is none. If the request has a [`RawTarget`] among
    /// its extensions, the transport sends that instead of the URI.
    fn call(&self, request: Request<Bytes>) -> impl Future<Output = Response<Bytes>> + Send;
}

/// Returns the folder of the dataset that the suite expects.
pub fn small_dataset() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/small"))
}

/// The ids of the products of that dataset, in ascending order.
pub const SMALL_IDS: [u32; 7] = [1, 2, 4, 7, 9, 12, 20];

/// Returns the expected body of `path` for that dataset.
pub fn golden(path: &str) -> String {
    let file = small_dataset().join("expected").join(format!("{}.json", path.trim_start_matches('/')));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Makes a test of every check. `$service` is the name of an `async fn() -> impl Transport` in scope.
#[macro_export]
macro_rules! suite {
    ($service:ident) => {
        $crate::suite! { @tests $service;
            catalog {
                a_page_lists_products_in_ascending_id,
                gaps_in_ids_make_no_short_page,
                a_page_past_the_end_is_empty,
                page_and_count_have_defaults_and_unknown_parameters_are_ignored,
                a_count_above_a_thousand_is_a_thousand,
                an_empty_parameter_is_ignored_and_the_first_of_a_repeated_one_counts,
                a_page_has_the_total_count_and_links_to_other_pages,
                a_product_has_its_features_in_file_order,
                styles_have_photos_and_skus_in_file_order_and_placeholders_where_there_are_none,
                related_products_are_in_file_order_with_duplicates,
                an_overview_is_its_parts_byte_for_byte,
                a_trailing_slash_is_the_same_resource,
                a_category_lists_its_products,
                a_search_finds_names_with_words_that_begin_so,
                a_search_that_is_not_one_to_four_words_is_400,
                categories_have_their_number_of_products,
                the_current_catalog_has_its_generation_publication_and_size,
            }
            caching {
                every_catalog_response_is_cacheable,
                a_tag_stands_for_one_content,
                a_known_tag_gets_304,
                an_unknown_tag_gets_the_full_response,
                accept_encoding_weights_are_honoured,
                styles_overviews_and_bodies_over_a_kibibyte_are_gzipped,
            }
            cards {
                cards_are_in_the_order_of_their_ids,
                a_page_of_cards_has_the_products_of_the_list,
                ids_of_cards_that_are_not_one_to_a_hundred_ids_are_400,
            }
            cart_lines {
                a_count_is_set_and_repeated_requests_change_nothing,
                a_count_of_0_removes_the_line,
                a_first_put_issues_a_cookie,
                a_count_that_is_not_a_whole_number_in_range_is_400,
                a_count_of_a_sku_that_does_not_exist_is_422,
                lines_of_a_cart_have_their_products,
            }
            cart {
                a_cart_without_an_identity_is_empty,
                the_first_post_issues_a_cookie_that_identifies_the_cart,
                authorization_takes_precedence_over_the_cookie,
                a_cart_lists_skus_in_order_of_first_adding_and_adds_up,
                concurrent_posts_lose_nothing,
                a_line_holds_at_most_9_999_of_a_sku,
                a_cart_has_at_most_1000_lines,
                numbers_may_be_strings_and_a_count_of_null_is_one,
                deleting_a_line_leaves_the_others,
                deleting_a_cart_empties_only_that_cart,
                without_an_identity_there_is_nothing_to_delete,
                a_guessed_session_number_opens_no_cart,
                a_body_without_a_valid_sku_is_400,
                a_sku_that_does_not_exist_is_422,
                a_body_of_another_type_is_415,
                a_body_over_a_kibibyte_is_413,
                cart_responses_are_not_cacheable,
            }
            methods {
                head_responds_like_get_without_the_body,
                options_permits_cross_origin_requests,
                an_unsupported_method_is_405_with_the_allowed_ones,
                a_valid_request_id_is_kept_and_an_invalid_one_replaced,
            }
            pages {
                hosts_serve_pages_and_functions_return_404,
                pages_refer_to_files_that_the_service_has,
                files_have_tags_and_are_gzipped,
                files_have_the_methods_of_any_read_only_path,
            }
            problems {
                ids_that_are_not_whole_numbers_in_range_are_400,
                pages_and_counts_that_are_not_whole_numbers_in_range_are_400,
                unknown_products_are_404,
                unknown_paths_are_404,
            }
            refusals {
                a_query_with_characters_invalid_in_a_uri_is_accepted,
                a_path_with_characters_invalid_in_a_uri_is_400_or_404,
                more_than_100_headers_are_431,
            }
            hostile {
                malicious_requests_get_no_500,
                random_requests_get_no_500,
            }
        }
    };
    (@tests $service:ident; $($module:ident { $($check:ident,)* })*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $check() {
                $crate::$module::$check(&super::$service().await).await;
            })*
        })*
    };
}
