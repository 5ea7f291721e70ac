//! Tests of what identifies a caller, with and without a key.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn settings(variables: &[(&str, &str)]) -> Settings {
    let set =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    Settings::from_lookup(&set).unwrap()
}

fn headers(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

fn caller(settings: &Settings, sent: &[(&'static str, &str)]) -> Option<Caller> {
    settings.caller(&headers(sent))
}

/// Issues a session and returns it with the name and value of its cookie, and the cookie's attributes.
fn issue(settings: &Settings, is_behind_tls: bool) -> (Session, String, String) {
    let session = Session::issue().unwrap();
    let cookie = settings.cookie(session.clone(), is_behind_tls).unwrap();
    let (pair, attributes) = cookie.to_str().unwrap().split_once("; ").unwrap();
    (session, pair.to_owned(), attributes.to_owned())
}

fn known(session: &Session) -> Option<Caller> {
    Some(Caller::Known(session.owner()))
}

#[test]
fn the_cookie_of_a_session_identifies_its_owner() {
    let settings = settings(&[]);
    let (session, pair, attributes) = issue(&settings, false);
    assert_eq!(pair, format!("atelier_session={}", session.id));
    assert_eq!(attributes, "Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(caller(&settings, &[("cookie", &pair)]), known(&session));
    assert_eq!(caller(&settings, &[("cookie", &format!("theme=dark;{pair}; x=1"))]), known(&session));
    assert_ne!(Session::issue().unwrap().owner(), session.owner());
}

#[test]
fn with_tls_the_cookie_is_bound_to_the_host_and_the_name_without_tls_still_counts() {
    let (auto, always) = (settings(&[]), settings(&[("COOKIE_SECURE", "always")]));
    for (settings, is_behind_tls) in [(&auto, true), (&always, false), (&always, true)] {
        let (session, pair, attributes) = issue(settings, is_behind_tls);
        assert_eq!(pair, format!("__Host-atelier_session={}", session.id));
        assert_eq!(attributes, "Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(caller(settings, &[("cookie", &pair)]), known(&session));
        let (_, other, _) = issue(&auto, false);
        assert_eq!(
            caller(settings, &[("cookie", &format!("{other}; {pair}"))]),
            known(&session),
            "may be planted"
        );
        let former = format!("atelier_session={}", session.id);
        assert_eq!(caller(settings, &[("cookie", &former)]), known(&session));
    }
}

#[test]
fn a_cookie_of_another_form_identifies_nobody() {
    for settings in [settings(&[]), settings(&[("CART_KEY", KEY)])] {
        for value in [
            "atelier_session=1",
            "atelier_session=",
            "atelier_session",
            "atelier_session=0123456789ABCDEF0123456789ABCDEF",
            "atelier_session=0123456789abcdef0123456789abcdef0",
            "other_atelier_session=0123456789abcdef0123456789abcdef",
            "atelier_session=\"0123456789abcdef0123456789abcdef\"",
            "__host-atelier_session=0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(caller(&settings, &[("cookie", value)]), None, "{value}");
        }
        assert_eq!(caller(&settings, &[]), None);
        assert_eq!(caller(&settings, &[("authorization", "")]), None);
    }
}

#[test]
fn authorization_takes_precedence_over_the_cookie_and_opens_no_session() {
    let cookie = format!("atelier_session={ID}");
    for settings in [settings(&[]), settings(&[("CART_KEY", KEY)])] {
        let by_header = caller(&settings, &[("authorization", "Bearer 7"), ("cookie", &cookie)]);
        assert!(matches!(by_header, Some(Caller::Known(_))));
        assert_eq!(caller(&settings, &[("authorization", "Bearer 7")]), by_header);
        assert_ne!(caller(&settings, &[("authorization", "Bearer 8")]), by_header);
        let Some(Caller::Known(owner)) = caller(&settings, &[("authorization", ID)]) else { panic!() };
        let session = Session { id: ID.to_owned(), mac: None }.owner();
        assert!(owner.hash != session.hash && owner.former != Some(session.hash));
    }
}

#[test]
fn with_a_key_only_an_issued_cookie_is_known() {
    let keyed = settings(&[("CART_KEY", KEY)]);
    let (session, pair, _) = issue(&keyed, false);
    assert_eq!(pair.len(), "atelier_session=".len() + 32 + 64);
    assert_eq!(caller(&keyed, &[("cookie", &pair)]), known(&session));
    // It stays the same session without the key, whose loss loses no cart of a cookie.
    assert_eq!(caller(&settings(&[]), &[("cookie", &pair)]), known(&session));
    let unproven = |sent: &str, settings: &Settings| match caller(settings, &[("cookie", sent)]) {
        Some(Caller::Unproven(session)) => session.id,
        other => panic!("{sent}: {other:?}"),
    };
    assert_eq!(unproven(&pair, &settings(&[("CART_KEY", &KEY.replace('0', "1"))])), session.id);
    let chosen = format!("atelier_session={ID}");
    assert_eq!(unproven(&chosen, &keyed), ID);
    let mac = &pair[pair.len() - 64..];
    assert_eq!(unproven(&format!("{chosen}{mac}"), &keyed), ID);
    assert_eq!(
        caller(&keyed, &[("cookie", &format!("{chosen}; {pair}"))]),
        known(&session),
        "the issued one counts"
    );
}

#[test]
fn with_a_key_the_hash_of_a_header_is_keyed_and_the_former_one_is_known() {
    let owner = |settings: &Settings| match caller(settings, &[("authorization", "Basic dXNlcjpwYXNz")]) {
        Some(Caller::Known(owner)) => owner,
        other => panic!("{other:?}"),
    };
    let (unkeyed, keyed) = (owner(&settings(&[])), owner(&settings(&[("CART_KEY", KEY)])));
    assert_eq!(unkeyed.former, None);
    assert_eq!(keyed.former, Some(unkeyed.hash));
    assert_ne!(keyed.hash, unkeyed.hash);
    assert_ne!(owner(&settings(&[("CART_KEY", &KEY.replace('0', "1"))])).hash, keyed.hash);
}

#[test]
fn a_short_key_is_refused_and_no_key_is_shown() {
    let refused = |key: &str| Settings::from_lookup(&|name| (name == "CART_KEY").then(|| key.to_owned()));
    let error = refused("s3cret").unwrap_err().to_string();
    assert_eq!(error, "CART_KEY=…: expected at least 32 random characters");
    assert!(refused("").unwrap().key.is_none());
    let shown = format!("{:?}", refused(KEY).unwrap());
    assert!(!shown.contains(&KEY[..8]), "{shown}");
}
