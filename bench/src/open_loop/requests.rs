//! What is asked: routes, ids and pages, drawn at random from a seed.

use std::io::Write;
use std::ops::RangeInclusive;

use fastrand::Rng;

/// One of the routes of the catalog.
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

/// In which order ids come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// At random, each with the same chance.
    Random,
    /// From 1 to the highest, and again.
    Ascending,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The routes, each with the same chance; one that is named twice is asked twice as often.
    pub routes: Vec<Route>,
    /// Products have the ids from 1 to this.
    pub highest_id: u32,
    /// In which order.
    pub ids: Ids,
    /// Pages of the list.
    pub pages: RangeInclusive<u32>,
    /// Products on a page.
    pub counts: RangeInclusive<u32>,
    /// Whether gzip is accepted, or nothing but the plain body.
    pub gzip: bool,
    /// The same seed asks for the same.
    pub seed: u64,
}

impl Requests {
    /// Of one route, for random products of a catalog with ids up to this one and for all pages of 5 to 10 that have
    /// any, gzipped.
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

    pub(super) fn draw(&self) -> Draw<'_> {
        Draw { requests: self, random: Rng::with_seed(self.seed), last_id: 0 }
    }
}

/// Draws one request after another.
#[derive(Debug)]
pub(super) struct Draw<'r> {
    requests: &'r Requests,
    random: Rng,
    last_id: u32,
}

impl Draw<'_> {
    /// Writes the next request over whatever is there.
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
            let (id, rest) = (self.id(), rest(route));
            write!(request, "GET /products/{id}{rest}")
        };
        let is_written = path_is_written
            .and_then(|()| write!(request, " HTTP/1.1\r\nhost: bench\r\naccept-encoding: {coding}\r\n\r\n"));
        debug_assert!(is_written.is_ok(), "memory takes whatever is written to it");
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

/// What comes after the id.
fn rest(route: Route) -> &'static str {
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
        let (mut draw, mut request) = (requests.draw(), Vec::new());
        let mut line = || {
            draw.write_to(&mut request);
            String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
        };
        (0..count).map(|_| line()).collect()
    }

    #[test]
    fn the_same_seed_asks_for_the_same() {
        let requests = Requests::of(Route::Styles, 1000);
        assert_eq!(lines(&requests, 50), lines(&requests, 50));
        assert_ne!(lines(&requests, 50), lines(&Requests { seed: 2, ..requests }, 50));
    }

    #[test]
    fn ascending_ids_come_each_once_and_then_again() {
        let requests = Requests { ids: Ids::Ascending, ..Requests::of(Route::Related, 2) };
        let expected = ["1", "2", "1"].map(|id| format!("GET /products/{id}/related HTTP/1.1"));
        assert_eq!(lines(&requests, 3), expected);
    }

    #[test]
    fn every_route_of_a_mix_is_asked_within_its_range() {
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
