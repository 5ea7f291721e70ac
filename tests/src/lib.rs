//! One suite for every transport: what the HTTP contract promises, as named checks.
//!
//! A check asks a [`Transport`], which is anything that answers an HTTP request, and fails by panicking. [`suite!`]
//! makes a test of each. The service behind the transport must serve the dataset in `data/small` as its catalog;
//! its answers are in `data/small/expected`, written by hand. And its database must have the carts of
//! [`cart::NEARLY_FULL_CARTS`].
//!
//! What is promised of every answer (an id, CORS headers, the form of a problem, never a 500) is looked at each time
//! a check asks anything: [`ask`].

// A failed check is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
pub mod caching;
pub mod cart;
pub mod catalog;
pub mod hostile;
pub mod lambda;
pub mod methods;
pub mod problems;
pub mod refusals;
pub mod s3;

use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};

pub use answer::{Answer, ask, get, get_with, gunzip};
pub use refusals::RawTarget;

/// Something that answers an HTTP request.
pub trait Transport: Sync {
    /// Whether an id's `%31` has become 1 before the service sees it, which it then cannot refuse.
    const DECODES_PATHS: bool = false;

    /// Whether something before the service refuses with 400 a method that is not in capitals, and a header in two
    /// lines that is sent in one as a rule.
    const IS_STRICT: bool = false;

    /// Answers one request. A transport that cannot get an answer panics. If the request has a [`RawTarget`] among its
    /// extensions, that is what is sent in place of its URI.
    fn call(&self, request: Request<Bytes>) -> impl Future<Output = Response<Bytes>> + Send;
}

/// The folder of the dataset that the suite is about.
pub fn small_dataset() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/small"))
}

/// The ids of the products of that dataset, in ascending order.
pub const SMALL_IDS: [u32; 7] = [1, 2, 4, 7, 9, 12, 20];

/// The body that `path` must have in that dataset.
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
                pages_go_by_rank_so_that_gaps_in_ids_make_no_short_page,
                a_page_past_the_end_is_empty,
                page_and_count_have_defaults_and_unknown_parameters_are_ignored,
                a_count_above_a_thousand_is_a_thousand,
                an_empty_parameter_is_none_and_of_a_repeated_one_the_first_counts,
                a_page_says_how_many_products_there_are_and_links_to_other_pages,
                a_product_has_its_features_in_file_order,
                styles_have_photos_and_skus_in_file_order_and_placeholders_where_there_are_none,
                related_products_are_in_file_order_with_duplicates,
                an_overview_is_its_parts_byte_for_byte,
                a_trailing_slash_is_the_same_resource,
            }
            caching {
                every_catalog_answer_may_be_cached,
                a_tag_stands_for_one_content,
                a_known_tag_gets_304,
                an_unknown_tag_gets_the_answer,
                gzip_is_honoured_with_its_q_values,
                gzip_is_for_styles_and_overviews_and_what_is_over_a_kibibyte,
            }
            cart {
                a_cart_without_an_identity_is_empty,
                the_first_post_issues_a_cookie_and_the_cart_is_its_bearer_s,
                authorization_goes_before_the_cookie,
                a_cart_lists_skus_in_order_of_first_adding_and_adds_up,
                concurrent_posts_lose_nothing,
                at_most_9_999_of_a_sku,
                a_cart_has_at_most_1000_lines,
                numbers_may_be_strings_and_a_count_of_null_is_one,
                deleting_a_line_leaves_the_others,
                deleting_a_cart_empties_it_and_no_other,
                without_an_identity_there_is_nothing_to_delete,
                a_guessed_session_number_opens_nothing,
                a_body_that_says_no_sku_is_400,
                a_sku_that_does_not_exist_is_422,
                a_body_of_another_type_is_415,
                a_body_over_a_kibibyte_is_413,
                cart_answers_are_not_stored,
            }
            methods {
                head_answers_as_get_without_the_body,
                options_is_answered_for_browsers,
                another_method_is_405_with_what_is_allowed,
                a_request_id_is_taken_or_made,
            }
            problems {
                ids_that_are_not_whole_numbers_in_range_are_400,
                pages_and_counts_that_are_no_whole_numbers_in_range_are_400,
                unknown_products_are_404,
                unknown_paths_are_404,
            }
            refusals {
                a_query_with_characters_that_no_uri_has_is_read,
                a_path_with_characters_that_no_uri_has_is_none_of_ours,
                more_than_100_headers_are_431,
            }
            hostile {
                nasty_requests_get_no_500,
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
