package parser

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// fetcher gets what references point at.
type fetcher struct {
	client *http.Client
	inbox  jetstream.ObjectStore
	bin    *bin
	limit  int64
	hosts  []string // none = all that are public
	exempt func(netip.AddrPort) bool
}

// fetched is a referenced document.
type fetched struct {
	name, contentType string
	data              []byte
	after             func(context.Context) error // when the document has been handed on
}

// errReplaced says that a newer version of the object has its own reference.
var errReplaced = errors.New("the object was replaced")

func newFetcher(cfg Config, inbox jetstream.ObjectStore, bin *bin) *fetcher {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	f := &fetcher{limit: cfg.FetchLimit, inbox: inbox, bin: bin, hosts: cfg.FetchHosts}
	if !cfg.FetchPrivate {
		// Checked on the address that is dialled, after DNS and after every
		// redirect: a name may resolve to anything.
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if private(a.Addr()) && (f.exempt == nil || !f.exempt(a)) {
				return fault.Invalid("private-address", "the reference leads to the private address %s", a.Addr().Unmap()).
					WithHint("allow it with --fetch-private")
			}
			return nil
		}
	}
	f.client = &http.Client{
		Timeout: cfg.FetchTimeout,
		// No proxy: it would dial in our place, unchecked.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 5 {
				return fault.New(fault.Execution, "fetch-refused", "more than 5 redirects")
			}
			return f.allowed(req.URL)
		},
	}
	return f
}

// allowed checks scheme and host of what is about to be requested.
func (f *fetcher) allowed(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fault.Invalid("bad-uri", "the scheme of %q cannot be fetched", events.CleanHeader(u.Redacted(), 200)).
			WithHint("use http, https or object://%s/<name>", events.StoreInbox)
	}
	if u.Hostname() == "" {
		return fault.Invalid("bad-uri", "%q names no host", events.CleanHeader(u.Redacted(), 200))
	}
	if len(f.hosts) == 0 {
		return nil
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	for _, h := range f.hosts {
		h = strings.ToLower(h)
		if host == strings.TrimPrefix(h, ".") || strings.HasPrefix(h, ".") && strings.HasSuffix(host, h) {
			return nil
		}
	}
	return fault.Invalid("host-not-allowed", "references to %s are not allowed", events.CleanHeader(host, 200)).WithHint("name the host in --fetch-hosts")
}

// private tells whether an address is none of the public network's. Ranges of
// IPv6 that carry an IPv4 address lead to it, so they are refused whole.
func private(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return true
	}
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// reserved are the blocks of IANA's special-purpose registries that the standard
// library calls global unicast.
var reserved = func() (all []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"168.63.129.16/32", // a cloud's platform, at a public address
		"64:ff9b::/96", "64:ff9b:1::/48", "::/96", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}()

// fetch gets what a reference points at. document is the name by which its
// submitter knows it.
func (f *fetcher) fetch(ctx context.Context, ref *events.Reference, document string) (*fetched, error) {
	u, err := url.Parse(ref.URI)
	if err != nil {
		return nil, fault.Wrap(err, fault.Validation, "bad-uri", "the reference %q is not a URI", events.CleanHeader(ref.URI, 200))
	}
	if u.Scheme == "object" {
		return f.object(ctx, u, ref.Version, document)
	}
	if err := f.allowed(u); err != nil {
		return nil, err
	}
	return f.get(ctx, u)
}

// FetchLimit is the default of --fetch-limit: the largest document in bytes that is
// read from the inbox or an address.
const FetchLimit = 100 << 20

// TooLarge is the fault of a document of more bytes than limit. Submitters use it,
// too: to refuse a file before it is uploaded.
func TooLarge(document string, size, limit int64) error {
	what := events.CleanHeader(document, 200)
	if size > limit {
		return fault.Invalid("too-large", "%s has %d bytes, more than the %d that are read", what, size, limit).
			WithHint("split it, or raise --fetch-limit of the parser")
	}
	return fault.Invalid("too-large", "%s is larger than the %d bytes that are read", what, limit).WithHint("split it, or raise --fetch-limit of the parser")
}

func (f *fetcher) get(ctx context.Context, u *url.URL) (*fetched, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Validation, "bad-uri", "the reference cannot be requested")
	}
	req.Header.Set("User-Agent", "sluice")
	resp, err := f.client.Do(req)
	if err != nil {
		var fe *fault.Error
		if errors.As(err, &fe) {
			return nil, fe
		}
		return nil, fault.Wrap(err, fault.Unavailable, "fetch-failed", "fetch %s", u.Redacted())
	}
	// Reading to the limit and closing early is deliberate; there is nothing to do about an error.
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		class := fault.Execution
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode >= 500 {
			class = fault.Unavailable
		}
		e := fault.New(class, "fetch-refused", "%s answered %s", u.Redacted(), resp.Status)
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 && s <= 3600 {
			e = e.After(time.Duration(s) * time.Second)
		}
		return nil, e
	}
	if resp.ContentLength > f.limit {
		return nil, TooLarge(u.Redacted(), resp.ContentLength, f.limit)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, f.limit+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "fetch-failed", "read %s", u.Redacted())
	}
	if int64(len(data)) > f.limit {
		return nil, TooLarge(u.Redacted(), 0, f.limit)
	}
	return &fetched{name: path.Base(u.Path), contentType: resp.Header.Get("Content-Type"), data: data}, nil
}
