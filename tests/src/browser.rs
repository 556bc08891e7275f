//! A headless Chromium, told what to do through its DevTools protocol over two pipes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Names under which distributions install it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// One page of a browser.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    calls: u64,
    session: String,
    /// Everything the page wrote to its console, every exception and every message of the browser about the page.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser with an empty page.
    ///
    /// # Panics
    /// If there is no Chromium: without it nobody has looked at the report, so the test fails.
    pub fn open() -> Self {
        let name = NAMES.into_iter().find(|name| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        });
        let name = name.expect("the report is tested in Chromium, which is not installed: `cargo xtask setup` does it");
        let profile = tempfile::tempdir().expect("a folder for the browser's profile");
        // The protocol is spoken on the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", name])
            // A container's root has no sandbox; the pages are our own.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--disable-background-networking", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut browser =
            Self { child, input, output, calls: 0, session: String::new(), complaints: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let words = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", words);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Loads a file and waits until its scripts have run and its first pictures are there.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn load(&mut self, file: &Path, fragment: &str) {
        let url = format!("file://{}{fragment}", file.display());
        // Only the fragment may differ from the page before: leave it first.
        for url in ["about:blank", url.as_str()] {
            let answer = self.call("Page.navigate", json!({ "url": url }));
            assert!(answer["errorText"].is_null(), "{url}: {answer}");
            while self.receive()["method"] != "Page.loadEventFired" {}
        }
    }

    /// The value of an expression in the page; a promise is waited for.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let words = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", words);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Presses a key as a keyboard does, such as `Tab` or `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "ArrowDown" => (40, ""),
            _ => (0, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let words = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", words);
        }
    }

    /// A method of the protocol, for the page.
    ///
    /// # Panics
    /// If the browser refuses it.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser listens");
        loop {
            let answer = self.receive();
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).expect("the browser speaks");
        bytes.pop();
        let message = serde_json::from_slice::<Value>(&bytes);
        let said = String::from_utf8_lossy(&bytes);
        assert!(message.is_ok(), "Chromium ended before it had answered: {said}");
        let message = message.unwrap_or_default();
        match message["method"].as_str() {
            Some(
                "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" | "Network.loadingFailed",
            ) => {
                self.complaints.push(message["params"].to_string());
            }
            Some("Network.requestWillBeSent") => {
                let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                // A report needs nobody but itself and its folder.
                if !["file:", "data:", "about:"].iter().any(|own| url.starts_with(own)) {
                    self.complaints.push(format!("asks the network for {url}"));
                }
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The shell has become the browser, which takes its children along.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
