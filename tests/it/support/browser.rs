//! A real browser: chromium without a screen, driven through chromedriver by the WebDriver protocol (HTTP and JSON).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

/// As long as anything may take.
const SOON: Duration = Duration::from_secs(30);

const MISSING: &str = "chromium and chromedriver are wanted; `./justw test` leaves these tests out where they are not";

impl Browser {
    pub async fn open() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let lines = BufReader::new(driver.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let port =
            lines.filter_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        let port = { port }.next().expect("chromedriver says its port");
        let data = format!("--user-data-dir={}", profile.path().display());
        let mut switches = vec!["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", &data];
        switches.extend(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        let chromium = std::env::var("PEO_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        let options = json!({"binary": chromium, "args": switches});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        let opened = browser.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": wanted}})).await;
        browser.session = format!("/session/{}", opened["sessionId"].as_str().expect("a session"));
        browser
    }

    pub async fn go(&self, address: &str) {
        self.post("/url", &json!({ "url": address })).await;
    }

    /// What a function body returns in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []})).await
    }

    pub async fn text(&self, script: &str) -> String {
        self.run(script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a function body returns something true.
    pub async fn until(&self, script: &str) {
        for _ in 0..150 {
            if self.run(script).await.as_bool() == Some(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never true: {script}\n{}", self.text("return document.body.innerText").await);
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await
    }

    /// A window as wide as that, and what is shown in it as on a phone.
    pub async fn is_as_wide_as(&self, width: u32) {
        let metrics = json!({"width": width, "height": 780, "deviceScaleFactor": 2, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What the console said since the last time: errors of scripts, and of the policy.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body).await
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n", self.port);
        let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.expect("chromedriver");
        socket.write_all((head + &body).as_bytes()).await.expect("asked");
        let answer =
            tokio::time::timeout(SOON, answer(&mut socket)).await.unwrap_or_else(|_| panic!("{path}: no answer"));
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(value["value"]["error"].is_null(), "{path}: {value}");
        value["value"].take()
    }
}

/// An answer to its end, which its head tells: the driver keeps the connection.
async fn answer(socket: &mut TcpStream) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = socket.read(&mut piece).await.expect("answered");
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, _)| {
            let head = head.to_lowercase();
            let length =
                head.split_once("content-length:").and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok());
            length.is_some_and(|length: usize| answer.len() >= head.len() + 4 + length)
        });
        if whole || count == 0 {
            return text.into_owned();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let quit = format!("DELETE {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", self.session);
        if let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
            use std::io::{Read, Write};
            let _ = socket.set_read_timeout(Some(Duration::from_secs(3)));
            let _ = socket.write_all(quit.as_bytes());
            let _ = socket.read(&mut [0; 512]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // the browser outlives a driver that is killed
        let own = self._profile.path().display().to_string();
        let _ = Command::new("pkill").args(["-9", "-f", &own]).status();
    }
}
