//! The status page in a real browser: nothing in it complains, it fits a phone, it refreshes itself and says when it cannot,
//! and what others wrote never becomes an element.

use std::time::Duration;

use serde_json::json;

use crate::page::{hostile, service, shows};
use crate::service::ops_port;
use crate::support::World;
use crate::support::browser::Browser;
use crate::support::program::{Running, start};

const LOAD1: &str = "e/LOAD00000001.csv.gz";

/// A service, and the address of its page.
async fn served(world: &World) -> (Running, String) {
    let running = start(service(world));
    let port = ops_port(&running).await;
    shows(port, "/", "Newest deliveries").await;
    (running, format!("http://127.0.0.1:{port}"))
}

#[tokio::test]
async fn no_page_complains_and_none_is_wider_than_a_phone() {
    let world = hostile().await;
    let (running, address) = served(&world).await;
    let failed = world.value("select id from loader_deliveries where status = 'failed'").await;
    shows(address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port"), "/", "no table").await;
    let browser = Browser::open().await;
    for width in [360, 800, 1280] {
        browser.is_as_wide_as(width).await;
        for path in ["/", "/deliveries", &format!("/deliveries/{failed}"), "/deliveries/1", "/deliveries/999", "/none"]
        {
            browser.go(&format!("{address}{path}")).await;
            let wide = browser.run("return document.documentElement.scrollWidth").await;
            assert_eq!(wide, width, "{path}");
            let foreign =
                "return [...document.querySelectorAll('script, img, b, style, iframe, object')].map(e => e.outerHTML)";
            let found = browser.run(foreign).await;
            let script = found[0].as_str().unwrap_or_default();
            assert!(found.as_array().map(Vec::len) == Some(1) && script.contains("/refresh.js?v="), "{path}: {found}");
            // what a policy forbids, it says; a page that is not there is no fault of the page
            let said = browser.complaints().await;
            let said: Vec<_> = said.iter().filter(|line| !line.contains("status of 404")).collect();
            assert!(said.is_empty(), "{path}: {said:?}");
        }
    }
    browser.go(&address).await;
    let text = browser.text("return document.body.innerText").await;
    assert!(text.contains("<script>alert(3)") && text.contains("\\u{202e}"), "shown as it is: {text}");
    // both schemes have their colours
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", media).await;
        grounds.push(browser.text(ground).await);
    }
    assert_ne!(grounds[0], grounds[1]);
    drop(running);
}

#[tokio::test]
async fn it_refreshes_itself_and_leaves_the_reader_where_he_is() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let (running, address) = served(&world).await;
    running.says("Delivery 1: processed (").await;
    let browser = Browser::open().await;
    browser.is_as_wide_as(360).await;
    browser.go(&address).await;
    browser.until("return document.body.innerText.includes('LOAD00000001.csv.gz')").await;
    let link = "document.querySelector('#newest a[href=\"/deliveries/1\"]')";
    browser.run(&format!("window.stayed = true; {link}.focus(); scrollTo(0, 150)")).await;
    let scrolled = browser.run("return scrollY").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,2\n").await;
    running.says("Delivery 2: processed (").await;
    browser.until("return document.querySelector('#newest a[href=\"/deliveries/2\"]') !== null").await;
    let still = "return window.stayed === true && document.activeElement.getAttribute('href') === '/deliveries/1'";
    assert_eq!(browser.run(still).await, true, "no reload, and the keyboard is where it was");
    assert_eq!(browser.run("return scrollY").await, scrolled);
    // marked text is not taken away
    browser.run("getSelection().selectAllChildren(document.querySelector('#headline'))").await;
    let mark = "const shown = document.querySelector('#shown').innerText; return shown";
    let before = browser.text(mark).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(browser.text(mark).await, before, "while something is marked the page stands still");
    browser.run("getSelection().removeAllRanges()").await;
    browser.until(&format!("return document.querySelector('#shown').innerText !== {}", json!(before))).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn it_asks_for_nothing_while_nobody_looks_and_says_when_nobody_answers() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    let (running, address) = served(&world).await;
    let browser = Browser::open().await;
    browser.go(&format!("{address}/deliveries")).await;
    let count = "window.asked = 0; const ask = window.fetch; window.fetch = (...all) => { window.asked++; return ask(...all) };";
    let hide = "window.away = true; Object.defineProperty(document, 'hidden', {get: () => window.away});";
    browser.run(&format!("{count}{hide}")).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(browser.run("return window.asked").await, 0);
    browser.run("window.away = false; document.dispatchEvent(new Event('visibilitychange'))").await;
    browser.until("return window.asked > 0").await;
    // a filter that is being set stays
    browser.run("document.querySelector('select[name=status]').value = 'held'").await;
    let first = browser.run("return window.asked").await.as_i64().expect("a number");
    browser.until(&format!("return window.asked > {first} + 1")).await;
    assert_eq!(browser.text("return document.querySelector('select[name=status]').value").await, "held");
    assert_eq!(browser.text("return document.querySelector('#contact').textContent").await, "");
    running.signal("KILL");
    running.ends().await;
    browser.until("return document.querySelector('#contact').textContent.includes('does not answer')").await;
    let text = browser.text("return document.querySelector('main').innerText").await;
    assert!(text.contains("LOAD00000001.csv.gz"), "what was shown stays: {text}");
}

#[tokio::test]
async fn without_scripts_all_is_there_and_the_filters_work() {
    let world = World::with_table().await;
    world.bucket.put(LOAD1, "1,a,1\n").await;
    world.bucket.put("e/20991231-120000000.csv.gz", "I,2,b,much\n").await;
    let (running, address) = served(&world).await;
    running.says("Delivery 2: failed").await;
    // what the page read a moment before holds for a second
    shows(address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port"), "/", "1 table waits").await;
    let browser = Browser::open().await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    for (path, words) in [
        ("/", "1 table waits for a person"),
        ("/", "Without JavaScript it does not refresh itself"),
        ("/deliveries", "<form"),
        ("/deliveries/2", "line 1, column price: not a number"),
    ] {
        browser.go(&format!("{address}{path}")).await;
        let page = shown(&browser).await;
        assert!(page.contains(words), "{path}: {words}: {page}");
    }
    // by keyboard: the third field of the form, its last choice but one, and Enter on the button
    browser.go(&format!("{address}/deliveries")).await;
    for key in ["Tab", "Tab", "Tab", "Tab", "Tab", "Tab", "f", "Tab", "Tab", "Enter"] {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            _ => 70,
        };
        let text = match key {
            "Tab" => json!({}),
            "Enter" => json!({"text": "\r"}),
            letter => json!({"text": letter}),
        };
        let mut down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        down.as_object_mut().expect("an object").extend(text.as_object().expect("an object").clone());
        browser.devtools("Input.dispatchKeyEvent", down).await;
        browser
            .devtools("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}))
            .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let page = shown(&browser).await;
    assert!(page.contains("value=\"failed\" selected"), "{page}");
    assert!(page.contains("href=\"/deliveries/2\"") && !page.contains("href=\"/deliveries/1\""), "{page}");
}

/// What is shown, asked in a way that needs no script.
async fn shown(browser: &Browser) -> String {
    let root = browser.devtools("DOM.getDocument", json!({"depth": 0})).await;
    let html = browser.devtools("DOM.getOuterHTML", json!({"nodeId": root["root"]["nodeId"]})).await;
    html["outerHTML"].as_str().unwrap_or_default().to_owned()
}
