package parser

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// What a stranger may write into docs.uri to reach what only this process can
// reach: everything is refused before a byte is sent to it.
func TestHostileReferences(t *testing.T) {
	victim := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was fetched", r.URL)
	}))
	defer victim.Close()
	port := victim.URL[strings.LastIndexByte(victim.URL, ':')+1:]
	var redirects int
	redirector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirects++
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	}))
	defer redirector.Close()
	cfg := DefaultConfig()
	cfg.FetchTimeout = 2 * time.Second
	f := newFetcher(cfg, nil, nil)
	defer f.client.CloseIdleConnections()
	u, err := url.Parse(redirector.URL)
	if err != nil {
		t.Fatal(err)
	}
	public := netip.MustParseAddrPort(u.Host) // stands for a host out there
	f.exempt = func(a netip.AddrPort) bool { return a == public }
	via := func(to string) string { return redirector.URL + "/?to=" + url.QueryEscape(to) }
	hostile := []string{
		"http://127.0.0.1:" + port + "/", "http://127.1:" + port + "/", "http://localhost:" + port + "/", "http://LOCALHOST.:" + port + "/",
		"http://2130706433:" + port + "/", "http://0x7f000001:" + port + "/", "http://0177.0.0.1:" + port + "/", "http://127.0.0.1.:" + port + "/",
		"http://0.0.0.0:" + port + "/", "http://0:" + port + "/", "http://[::]:" + port + "/", "http://[::1]:" + port + "/",
		"http://[::ffff:127.0.0.1]:" + port + "/", "http://[::ffff:7f00:1]:" + port + "/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
		"http://[::127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://[fd00:ec2::254]/latest/meta-data/", "http://[fec0::1]/",
		"http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/latest/meta-data/", "http://168.63.129.16/machine", "http://192.0.0.192/opc/v2/",
		"http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/", "http://100.64.0.1/", "http://198.18.0.1/", "http://240.0.0.1/", "http://255.255.255.255/",
		"http://user:pass@127.0.0.1:" + port + "/", "http://example.org@127.0.0.1:" + port + "/", "http://127.0.0.1:" + port + "#@example.org/",
		"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_FLUSHALL", "data:text/plain,hello", "unix:///var/run/docker.sock", "//127.0.0.1/", "http:///etc/passwd", "object://budget/limits",
		via("http://127.0.0.1:" + port + "/"), via("http://localhost:" + port + "/"), via("http://169.254.169.254/"), via("file:///etc/passwd"), via("gopher://127.0.0.1:6379/"), via(via("http://[::1]:" + port + "/")),
	}
	if len(hostile) < 25 {
		t.Fatal("too few")
	}
	for _, uri := range hostile {
		got, err := f.fetch(t.Context(), &events.Reference{URI: uri}, uri)
		if err == nil {
			t.Errorf("%s brought %q", uri, got.data)
			continue
		}
		// What is no address anywhere may fail as a name that nobody knows.
		if c := fault.Of(err); c != fault.Validation && c != fault.Unavailable {
			t.Errorf("%s: class %v: %v", uri, c, err)
		}
	}
	if redirects < 6 {
		t.Errorf("only %d redirects were made: the test does not reach what it tests", redirects)
	}
}

func TestPrivateAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": false, "1.1.1.1": false, "2606:4700:4700::1111": false, "93.184.215.14": false, "::ffff:8.8.8.8": false,
		"127.0.0.1": true, "::1": true, "::ffff:10.1.2.3": true, "0.1.2.3": true, "224.0.0.1": true, "ff02::1": true, "fe80::1%eth0": true, "64:ff9b::808:808": true, "2002::1": true,
	} {
		if got := private(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is private: %v", address, got)
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	cfg := DefaultConfig()
	cfg.FetchHosts = []string{"docs.example.org", ".example.net"}
	f := newFetcher(cfg, nil, nil)
	for uri, want := range map[string]bool{
		"https://docs.example.org/a": true, "https://DOCS.example.org./a": true, "https://example.net/": true, "https://a.b.example.net/": true,
		"https://example.org/": false, "https://evilexample.net/": false, "https://docs.example.org.evil.com/": false, "https://docs.example.org@evil.com/": false,
	} {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.allowed(u); (err == nil) != want {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
