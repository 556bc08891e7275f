//! The report in a real browser: it loads, says nothing on the console, filters, pages, and never runs what a run's
//! files hold.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]
#![cfg(unix)]

use std::path::{Path, PathBuf};

use scgs_tests::{browser::Browser, finish, mock_run::MockRun, scgs, tiny_run};
use serde_json::{Value, json};

/// Writes the page of a run.
fn page(folder: &Path, run: &Path) -> PathBuf {
    finish(&mut scgs(folder, &["report", run.to_str().unwrap()])).expect(0, &[]);
    run.join("report/index.html")
}

fn text(browser: &mut Browser, selector: &str) -> String {
    browser.evaluate(&format!("document.querySelector({selector:?}).textContent")).as_str().unwrap().to_owned()
}

fn count(browser: &mut Browser, selector: &str) -> u64 {
    browser.evaluate(&format!("document.querySelectorAll({selector:?}).length")).as_u64().unwrap()
}

/// Chooses a value of a filter as a person does: the element and its event.
fn choose(browser: &mut Browser, filter: &str, value: &str) {
    let select = format!("document.getElementById('chain-filters').elements[{filter:?}]");
    let known = browser.evaluate(&format!("[...{select}.options].some((o) => o.value === {value:?})"));
    assert_eq!(known, true, "{filter} has {value}");
    let change = "dispatchEvent(new Event('change', { bubbles: true }))";
    browser.evaluate(&format!("{select}.value = {value:?}; {select}.{change}"));
}

/// The pictures in view are there: none is broken.
fn broken_pictures(browser: &mut Browser) -> Value {
    browser.evaluate(
        "Promise.all([...document.images].map((i) => { i.loading = 'eager'; return i.decode().then(() => null, () => i.src); }))
           .then((all) => all.filter((src) => src !== null))",
    )
}

#[test]
fn ten_thousand_rows_load_filter_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let mock = MockRun { sources: 500, pictures: 10_000, ..MockRun::default() };
    let page = page(dir.path(), &mock.write(dir.path()).unwrap());
    let bytes = fs_err::metadata(&page).unwrap().len();
    // 8 MiB of thumbnails and at most 400 bytes of facts per row.
    assert!(bytes < (8 << 20) + 10_000 * 400 + 500 * 600 + (1 << 20), "{bytes} bytes");
    let mut browser = Browser::open();
    browser.load(&page, "");
    let ready = browser.evaluate("Number(document.getElementById('chain').dataset.ready)").as_f64().unwrap();
    println!("10,000 rows, {bytes} bytes: ready after {ready} ms");
    // The promise is two seconds; a machine that also compiles may be slower, ten are a fault.
    assert!(ready > 0.0 && ready < 10_000.0, "{ready} ms");
    // What makes it so: the document holds one page of rows, whatever their number.
    assert_eq!(count(&mut browser, "#chain-rows > li"), 24);
    assert!(count(&mut browser, "*") < 4_000);
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 10000 new pictures");
    assert_eq!(text(&mut browser, ".pager.above .where"), "page 1 of 417");

    choose(&mut browser, "class", "bird");
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 5000 that fit, of 10000 new pictures");
    choose(&mut browser, "outcome", "dropped");
    // Every tenth picture is dropped; all of those come from odd sources, which are birds.
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 1000 that fit, of 10000 new pictures");
    assert_eq!(count(&mut browser, "#chain-rows > li.dropped"), 24);
    assert!(text(&mut browser, "#chain-rows > li").contains("dropped: nothing changed"));
    choose(&mut browser, "cluster", "bird 2");
    choose(&mut browser, "group", "bird on water");
    let found = (0..10_000_u64).filter(|n| n % 10 == 9 && (n % 500 / 2) % 3 == 2 && n % 500 % 4 == 1).count();
    assert!(text(&mut browser, "#chain-status").contains(&format!(" of {found} that fit")));
    // The address holds the view: loaded again it is the same.
    let hash = browser.evaluate("location.hash").as_str().unwrap().to_owned();
    assert_eq!(hash, "#class=bird&cluster=bird+2&group=bird+on+water&outcome=dropped");
    browser.load(&page, &hash);
    assert!(text(&mut browser, "#chain-status").contains(&format!(" of {found} that fit")));
    browser.evaluate("document.querySelector('[name=reset]').click()");
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 10000 new pictures");
    choose(&mut browser, "outcome", "repaired");
    let repaired = (0..10_000).filter(|n| n % 3 == 0 && n % 7 != 0).count();
    assert!(text(&mut browser, "#chain-status").contains(&format!(" of {repaired} that fit")));

    // The last page, whose pictures are beyond what is embedded, from the folder.
    browser.load(&page, "#page=417");
    assert_eq!(count(&mut browser, "#chain-rows > li"), 10_000 % 24);
    assert_eq!(count(&mut browser, "#chain-rows .painted img[src^='data:']"), 0);
    assert_eq!(broken_pictures(&mut browser), json!([]));
    assert_eq!(browser.evaluate("document.querySelector('.pager.above [name=next]').disabled"), true);
    browser.evaluate("document.querySelector('.pager.above [name=previous]').click()");
    assert_eq!(text(&mut browser, ".pager.above .where"), "page 416 of 417");
    browser.evaluate("history.back(); new Promise((done) => window.addEventListener('popstate', done))");
    assert_eq!(text(&mut browser, ".pager.above .where"), "page 417 of 417");
    // Nonsense in the address is no page.
    browser.load(&page, "#page=-7&class=%3Cb%3E&outcome=none");
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 10000 new pictures");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn markup_in_names_and_reasons_stays_text() {
    let dir = tempfile::tempdir().unwrap();
    let evil = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let mock = MockRun {
        classes: [evil.into(), "\" onload=\"document.title='owned'\" '&lt;".into()],
        reason: format!("{evil}<!--<script>"),
        ..MockRun::default()
    };
    let page = page(dir.path(), &mock.write(dir.path()).unwrap());
    let mut browser = Browser::open();
    browser.load(&page, "#outcome=dropped");
    assert_eq!(browser.evaluate("document.title"), "SCGS on habitat");
    assert_eq!(count(&mut browser, "#chain-rows > li"), 10, "the data is whole");
    assert!(text(&mut browser, "#chain-rows").contains(evil), "and shown as it is");
    assert_eq!(count(&mut browser, "img:not([src^='data:']), body script:not([type]) ~ *"), 0, "no element came of it");
    assert_eq!(browser.complaints, [""; 0]);
    let html = fs_err::read_to_string(&page).unwrap();
    assert!(!html.contains(evil));
    // The policy would stop what slipped through.
    assert!(html.contains("default-src 'none'"));
    let blocked = "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s); document.title";
    assert_eq!(browser.evaluate(blocked), "SCGS on habitat");
    assert!(!browser.complaints.is_empty(), "the browser says that it was refused");
}

#[test]
fn a_keyboard_and_a_screen_reader_are_enough() {
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path(), &MockRun::default().write(dir.path()).unwrap());
    let mut browser = Browser::open();
    browser.load(&page, "");
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.textContent"), "Skip to the content");
    // To the first filter, and from there to the next page, with keys alone.
    let mut seen = Vec::new();
    for _ in 0..80 {
        browser.press("Tab");
        let at = browser.evaluate("document.activeElement.name ?? ''");
        let at = at.as_str().unwrap_or_default().to_owned();
        if at == "next" {
            browser.press("Enter");
            break;
        }
        seen.push(at);
    }
    assert_eq!(text(&mut browser, ".pager.above .where"), "page 2 of 5", "{seen:?}");
    assert_eq!(browser.evaluate("document.activeElement.name"), "next", "the focus stays");
    for _ in 0..3 {
        browser.press("Enter");
    }
    assert_eq!(text(&mut browser, ".pager.above .where"), "page 5 of 5");
    assert_eq!(browser.evaluate("document.activeElement.name"), "first", "it moves where its button has no use");

    // What a screen reader hears: every control and picture has a name, headings leave out no level.
    let tree = browser.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let role = |n: &Value| n["role"]["value"].as_str().unwrap_or_default().to_owned();
    let named = ["button", "combobox", "link", "image", "img", "navigation", "region", "table"];
    for node in nodes.iter().filter(|n| n["ignored"] == false && named.contains(&role(n).as_str())) {
        let name = node["name"]["value"].as_str().unwrap_or_default();
        assert!(!name.is_empty(), "{} without a name: {node}", role(node));
    }
    let levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))");
    let levels: Vec<u64> = levels.as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert_eq!(levels.iter().filter(|l| **l == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert_eq!(browser.evaluate("document.documentElement.lang"), "en");
    assert_eq!(count(&mut browser, "th:not([scope])"), 0);
    assert_eq!(count(&mut browser, "[role=status]"), 1, "changes of the view are announced");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn text_is_readable_in_light_dark_narrow_and_print() {
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path(), &MockRun::default().write(dir.path()).unwrap());
    let mut browser = Browser::open();
    // The contrast of WCAG 2.1: between every text colour of the page and what is under it, at least 4.5.
    let contrast = "(() => {
        const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const under = (e) => { for (let at = e; at; at = at.parentElement) { const c = getComputedStyle(at).backgroundColor;
            if (!c.endsWith(', 0)')) return c; } return 'rgb(255, 255, 255)'; };
        const seen = [...document.querySelectorAll('body *')].filter((e) => !e.disabled && !e.closest('svg, .skip, script')
            && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
        return Math.min(...seen.map((e) => { const [a, b] = [light(getComputedStyle(e).color), light(under(e))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));
    })()";
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        browser.load(&page, "");
        let lowest = browser.evaluate(contrast).as_f64().unwrap();
        assert!(lowest >= 4.5, "{scheme}: {lowest}");
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(papers[0], papers[1]);
    // On a telephone nothing but the tables' own frames scrolls sideways.
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": true });
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    browser.load(&page, "");
    let (inner, outer) = ("document.documentElement.scrollWidth", "document.documentElement.clientWidth");
    assert_eq!(browser.evaluate(inner), browser.evaluate(outer));
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
    // On paper there are no controls.
    browser.call("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    browser.load(&page, "");
    let shown = "[...document.querySelectorAll('select, button, nav')].filter((e) => e.offsetParent !== null).length";
    assert_eq!(browser.evaluate(shown), 0);
    let pdf = browser.call("Page.printToPDF", json!({ "printBackground": true }));
    assert!(pdf["data"].as_str().unwrap().len() > 10_000);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn every_part_of_a_run_has_its_section_and_an_older_run_does_without() {
    let dir = tempfile::tempdir().unwrap();
    let new = page(dir.path(), &MockRun::default().write(&dir.path().join("new")).unwrap());
    let old = MockRun { extras: false, ..MockRun::default() };
    let old = page(dir.path(), &old.write(&dir.path().join("old")).unwrap());
    let mut browser = Browser::open();
    browser.load(&new, "");
    for part in [
        "60.0 % of its worst group (bird on land)",
        "nothing changed (10)",
        "1 × the mask covers 0 % of the picture",
        "oracle-reweight [oracle]",
        "scgs run --dataset habitat",
        "rule = \"background\"",
        "weights sha256",
        "wrong in both",
        "in 2 mistakes drawn at random",
        "60.0",
    ] {
        assert!(text(&mut browser, "body").contains(part), "{part}");
    }
    assert_eq!(count(&mut browser, ".curves svg"), 1);
    assert_eq!(broken_pictures(&mut browser), json!([]));
    // A cluster leads to its pictures.
    browser.evaluate("document.querySelector('a[data-cluster=\"mammal 1\"]').click()");
    assert_eq!(browser.evaluate("document.getElementById('chain-filters').elements.cluster.value"), "mammal 1");
    browser.load(&old, "");
    assert_eq!(text(&mut browser, "#chain-status"), "1 to 24 of 100 new pictures");
    assert_eq!(count(&mut browser, "#to-cost, #to-attention"), 0);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn several_runs_are_compared_on_one_page() {
    let dir = tempfile::tempdir().unwrap();
    let a = MockRun::default().write(&dir.path().join("a")).unwrap();
    let b = MockRun::default().write(&dir.path().join("b run")).unwrap();
    let config = b.join("seed-0/config.toml");
    let changed = fs_err::read_to_string(&config).unwrap().replace("attended", "swap");
    fs_err::write(&config, changed).unwrap();
    let words = ["report", a.to_str().unwrap(), b.to_str().unwrap(), "--out", "pages/both.html"];
    let said = finish(&mut scgs(dir.path(), &words));
    said.expect(0, &[]);
    assert_eq!(said.stdout.trim_end(), "pages/both.html");
    let mut browser = Browser::open();
    browser.load(&dir.path().join("pages/both.html"), "");
    let cells = "[...document.querySelectorAll('main section:last-of-type tbody tr')].map((r) => r.textContent)";
    assert_eq!(browser.evaluate(cells), json!(["mask.repaint\"attended\"\"swap\""]));
    assert!(text(&mut browser, "main").contains("oracle-reweight [oracle]"));
    // Its links lead to the runs' own pages.
    let links = browser.evaluate("[...document.querySelectorAll('header a')].map((a) => a.href)");
    let links: Vec<String> = links.as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
    assert_eq!(links.len(), 2);
    for link in links {
        let target = json!({ "url": link });
        assert!(browser.call("Page.navigate", target)["errorText"].is_null(), "{link}");
    }
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn the_page_of_a_real_run_shows_its_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let words = tiny_run(&["--methods", "erm,scgs", "--seed", "3"]);
    finish(&mut scgs(dir.path(), &words)).expect(0, &["7-chain"]);
    let runs = scgs_tests::hashes(&dir.path().join("runs")).unwrap();
    let pages: Vec<&PathBuf> = runs.keys().filter(|p| p.ends_with("report/index.html")).collect();
    assert_eq!(pages.len(), 2, "of the run and of its seed: {pages:?}");
    let mut browser = Browser::open();
    for page in pages {
        browser.load(&dir.path().join("runs").join(page), "");
        assert!(count(&mut browser, "#chain-rows > li") > 10);
        assert_eq!(broken_pictures(&mut browser), json!([]));
        // The files that the thumbnails stand for are where the links say.
        let links = browser.evaluate("[...document.querySelectorAll('#chain-rows a')].map((a) => a.href)");
        for link in links.as_array().unwrap() {
            let file = link.as_str().unwrap().strip_prefix("file://").unwrap().to_owned();
            assert!(Path::new(&file).is_file(), "{file}");
        }
        let body = text(&mut browser, "body");
        for part in ["ERM: ", "SCGS: ", "scgs run --dataset habitat", "--seed 3", "1-erm", " on water"] {
            assert!(body.contains(part), "{part}");
        }
    }
    assert_eq!(browser.complaints, [""; 0]);
}
