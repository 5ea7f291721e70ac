//! Pages of lists, and the links between them.

use std::fmt::Write as _;

/// A page of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The number of the page, from 1.
    pub page: i32,
    /// Products per page, 1 to the max of the list.
    pub count: i32,
}

impl Page {
    /// Returns the ranks of the first and last product of the page. They may be far past the end of the catalog.
    #[must_use]
    pub fn ranks(self) -> (i64, i64) {
        let (page, count) = (i64::from(self.page), i64::from(self.count));
        ((page - 1) * count + 1, page * count)
    }

    /// Returns the `Link` header (RFC 8288) of this page in a list of `total` products, which is that of a category if
    /// there is one. Each reference consists of a query alone, so it works below any stage or base path.
    #[must_use]
    pub fn links(self, category: Option<&str>, total: i32) -> String {
        let Self { page, count } = self;
        let last = total.max(1).unsigned_abs().div_ceil(count.unsigned_abs());
        let page = page.unsigned_abs();
        let category = category.map_or(String::new(), |category| {
            form_urlencoded::Serializer::new(String::new()).append_pair("category", category).finish() + "&"
        });
        let mut links = String::with_capacity(160 + 4 * category.len());
        for (relation, page, exists) in [
            ("first", 1, true),
            ("prev", page - 1, page > 1),
            ("next", page + 1, page < last),
            ("last", last, true),
        ] {
            if exists {
                let comma = if links.is_empty() { "" } else { ", " };
                let _ = write!(links, "{comma}<?{category}page={page}&count={count}>; rel=\"{relation}\""); // cannot fail
            }
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_page_number_has_ranks() {
        let (first, last) = Page { page: i32::MAX, count: 1000 }.ranks();
        assert_eq!((first, last), (2_147_483_646_001, 2_147_483_647_000));
        assert_eq!(Page { page: 1, count: 5 }.ranks(), (1, 5));
    }

    #[test]
    fn a_page_links_to_the_other_pages_that_exist() {
        let links = |page, count, total| Page { page, count }.links(None, total);
        assert_eq!(
            links(2, 3, 7),
            "<?page=1&count=3>; rel=\"first\", <?page=1&count=3>; rel=\"prev\", <?page=3&count=3>; rel=\"next\", \
             <?page=3&count=3>; rel=\"last\""
        );
        assert_eq!(
            links(1, 1000, 7),
            "<?page=1&count=1000>; rel=\"first\", <?page=1&count=1000>; rel=\"last\""
        );
        for (page, count, total, next, previous) in
            [(1, 3, 6, true, false), (2, 3, 6, false, true), (2, 5, 6, false, true)]
        {
            let links = links(page, count, total);
            assert_eq!((links.contains("next"), links.contains("prev")), (next, previous), "{links}");
        }
        assert!(links(1, 1, i32::MAX).contains("<?page=2147483647&count=1>; rel=\"last\""));
        let links = Page { page: 1, count: 5 }.links(Some("Boots & \"Söcken\""), 5);
        assert!(
            links.starts_with("<?category=Boots+%26+%22S%C3%B6cken%22&page=1&count=5>; rel=\"first\", <"),
            "{links}"
        );
    }
}
