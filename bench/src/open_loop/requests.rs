//! Generated requests: random routes, ids and pages from a seed.

use std::io::Write;
use std::ops::RangeInclusive;

use fastrand::Rng;

/// A route of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/products?page=&count=`
    List,
    /// `/products/:id`
    Product,
    /// `/products/:id/styles`
    Styles,
    /// `/products/:id/related`
    Related,
    /// `/products/:id/overview`
    Overview,
}

/// The order of product ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Uniformly random.
    Random,
    /// From 1 to the highest id, repeatedly.
    Ascending,
}

/// A description of the requests to generate.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The routes, chosen uniformly at random. A route that is listed twice is twice as likely.
    pub routes: Vec<Route>,
    /// Product ids range from 1 to this.
    pub highest_id: u32,
    /// The order of ids.
    pub ids: Ids,
    /// Page numbers of the list.
    pub pages: RangeInclusive<u32>,
    /// Products per page.
    pub counts: RangeInclusive<u32>,
    /// Whether requests accept gzip, or only the plain body.
    pub gzip: bool,
    /// The seed: the same seed generates the same requests.
    pub seed: u64,
}

impl Requests {
    /// Returns requests to one route with gzip, for random products up to an id, and for random pages of 5 to 10
    /// products.
    pub fn of(route: Route, highest_id: u32) -> Self {
        Self {
            routes: vec![route],
            highest_id: highest_id.max(1),
            ids: Ids::Random,
            pages: 1..=(highest_id / 5).max(1),
            counts: 5..=10,
            gzip: true,
            seed: 1,
        }
    }

    pub(super) fn generator(&self) -> RequestGenerator<'_> {
        RequestGenerator { requests: self, random: Rng::with_seed(self.seed), last_id: 0 }
    }
}

/// A generator of requests.
#[derive(Debug)]
pub(super) struct RequestGenerator<'r> {
    requests: &'r Requests,
    random: Rng,
    last_id: u32,
}

impl RequestGenerator<'_> {
    /// Replaces the content of `request` with the next request.
    pub(super) fn write_to(&mut self, request: &mut Vec<u8>) {
        request.clear();
        let route = match self.requests.routes.as_slice() {
            [one] => *one,
            routes => self.random.choice(routes).copied().unwrap_or(Route::Product),
        };
        let coding = if self.requests.gzip { "gzip" } else { "identity" };
        let path_is_written = if route == Route::List {
            let page = self.random.u32(self.requests.pages.clone());
            let count = self.random.u32(self.requests.counts.clone());
            write!(request, "GET /products?page={page}&count={count}")
        } else {
            let (id, suffix) = (self.id(), suffix(route));
            write!(request, "GET /products/{id}{suffix}")
        };
        let is_written = path_is_written
            .and_then(|()| write!(request, " HTTP/1.1\r\nhost: bench\r\naccept-encoding: {coding}\r\n\r\n"));
        debug_assert!(is_written.is_ok(), "writing to memory does not fail");
    }

    fn id(&mut self) -> u32 {
        match self.requests.ids {
            Ids::Random => self.random.u32(1..=self.requests.highest_id),
            Ids::Ascending => {
                self.last_id = self.last_id % self.requests.highest_id + 1;
                self.last_id
            }
        }
    }
}

/// Returns the path after the id.
fn suffix(route: Route) -> &'static str {
    match route {
        Route::List | Route::Product => "",
        Route::Styles => "/styles",
        Route::Related => "/related",
        Route::Overview => "/overview",
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, Requests, Route};

    fn lines(requests: &Requests, count: usize) -> Vec<String> {
        let (mut generator, mut request) = (requests.generator(), Vec::new());
        let mut line = || {
            generator.write_to(&mut request);
            String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
        };
        (0..count).map(|_| line()).collect()
    }

    #[test]
    fn the_same_seed_generates_the_same_requests() {
        let requests = Requests::of(Route::Styles, 1000);
        assert_eq!(lines(&requests, 50), lines(&requests, 50));
        assert_ne!(lines(&requests, 50), lines(&Requests { seed: 2, ..requests }, 50));
    }

    #[test]
    fn ascending_ids_repeat_after_the_highest() {
        let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Related, 2) };
        let expected = ["1", "2", "1"].map(|id| format!("GET /products/{id}/related HTTP/1.1"));
        assert_eq!(lines(&requests, 3), expected);
    }

    #[test]
    fn a_mix_covers_all_routes_and_their_ranges() {
        let routes = vec![Route::List, Route::Product, Route::Overview];
        let lines = lines(&Requests { routes, ..Requests::of(Route::List, 10) }, 300);
        for page in 1..=2 {
            for count in 5..=10 {
                let line = format!("GET /products?page={page}&count={count} HTTP/1.1");
                assert!(lines.contains(&line), "{line}");
            }
        }
        for id in 1..=10 {
            assert!(lines.contains(&format!("GET /products/{id} HTTP/1.1")), "{id}");
            assert!(lines.contains(&format!("GET /products/{id}/overview HTTP/1.1")), "{id}");
        }
    }
}
