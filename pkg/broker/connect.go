package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"sluice/pkg/fault"
)

// Config says where NATS is, and as whom to connect. The tags are read by kong.
type Config struct {
	URL   string `name:"nats-url" env:"NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS server, or several with commas."`
	Login `embed:""`

	// Tell is called with what is wrong with the connection: no server answers, or
	// it is too old. It is called at once, again every half minute while it lasts,
	// and with nil when it is over; by one goroutine at a time. Optional.
	Tell func(*fault.Error) `kong:"-"`
}

// Login says who connects, and what proves it. All but the inbox prefix are
// paths of files: what is secret is in no command line and no environment.
type Login struct {
	Creds       string `name:"nats-creds" env:"NATS_CREDS" type:"path" placeholder:"FILE" help:"NATS credentials file."`
	NKey        string `name:"nats-nkey" env:"NATS_NKEY" type:"path" placeholder:"FILE" help:"File with the NKEY seed of the NATS user; 'sluice apply --nats-keys' makes them."`
	CA          string `name:"nats-ca" env:"NATS_CA" type:"path" placeholder:"FILE" help:"Certificates (PEM) that sign the NATS servers'; turns TLS on."`
	Cert        string `name:"nats-cert" env:"NATS_CERT" type:"path" placeholder:"FILE" help:"Client certificate (PEM), for NATS servers that want one."`
	Key         string `name:"nats-key" env:"NATS_KEY" type:"path" placeholder:"FILE" help:"Private key (PEM) of --nats-cert."`
	InboxPrefix string `name:"nats-inbox-prefix" env:"NATS_INBOX_PREFIX" placeholder:"PREFIX" help:"Subject prefix of answers. A user with rights of its own may hear only its own, such as _INBOX_parser."`
}

// Check reads the files and names the first that cannot work. It connects to
// nothing, and no error quotes what a file holds.
func (l Login) Check() error {
	_, err := l.options()
	return err
}

// options returns what the client needs to know.
func (l Login) options() ([]nats.Option, error) {
	wrong := func(err error, flag, path, hint string) error {
		return fault.Wrap(err, fault.Halt, "nats-login", "%s %s cannot be used", flag, path).WithHint("%s", hint)
	}
	var options []nats.Option
	if l.Creds != "" && l.NKey != "" {
		return nil, fault.New(fault.Halt, "nats-login", "both --nats-creds and --nats-nkey say who connects").WithHint("set one of NATS_CREDS and NATS_NKEY")
	}
	if l.Creds != "" {
		if _, err := os.Stat(l.Creds); err != nil {
			return nil, wrong(err, "--nats-creds", l.Creds, "name a credentials file that this process may read")
		}
		options = append(options, nats.UserCredentials(l.Creds))
	}
	if l.NKey != "" {
		seed, err := readSeed(l.NKey)
		if err != nil {
			return nil, wrong(err, "--nats-nkey", l.NKey, "name a file with the seed of a user ('SU...'); 'sluice apply --nats-keys' makes them")
		}
		public, err := seed.PublicKey()
		seed.Wipe()
		if err != nil {
			return nil, wrong(err, "--nats-nkey", l.NKey, "make the seed again")
		}
		// Read anew for each connection: a seed can be exchanged while we run.
		options = append(options, nats.Nkey(public, func(nonce []byte) ([]byte, error) {
			seed, err := readSeed(l.NKey)
			if err != nil {
				return nil, err
			}
			defer seed.Wipe()
			return seed.Sign(nonce)
		}))
	}
	if l.CA != "" {
		pem, err := os.ReadFile(l.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("it has no certificate in PEM")
		}
		if err != nil {
			return nil, wrong(err, "--nats-ca", l.CA, "name a file with the certificates of the authority that signed the servers'")
		}
		options = append(options, nats.RootCAs(l.CA))
	}
	if (l.Cert == "") != (l.Key == "") {
		return nil, fault.New(fault.Halt, "nats-login", "a client certificate needs both --nats-cert and --nats-key").WithHint("set NATS_CERT and NATS_KEY, or neither")
	}
	if l.Cert != "" {
		if _, err := tls.LoadX509KeyPair(l.Cert, l.Key); err != nil {
			return nil, wrong(err, "--nats-cert", l.Cert, "name a certificate and its key, both in PEM")
		}
		options = append(options, nats.ClientCert(l.Cert, l.Key))
	}
	if p := l.InboxPrefix; p != "" {
		if strings.ContainsAny(p, " \t\r\n*>") || strings.HasPrefix(p, ".") || strings.HasSuffix(p, ".") || strings.Contains(p, "..") {
			return nil, fault.New(fault.Halt, "nats-login", "--nats-inbox-prefix %q is not the beginning of a subject", p).WithHint("use letters, digits, '_' and dots between them")
		}
		options = append(options, nats.CustomInboxPrefix(p))
	}
	return options, nil
}

// readSeed reads the seed of a user. Lines that are none, such as comments, are
// skipped.
func readSeed(path string) (nkeys.KeyPair, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		for i := range text {
			text[i] = 0
		}
	}()
	seed, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		// The library's words may quote what it read.
		return nil, errors.New("it holds no seed of a user")
	}
	return seed, nil
}

// Check names the first setting that cannot work. It connects to nothing.
func (c Config) Check() error {
	if strings.TrimSpace(c.URL) == "" {
		return fault.New(fault.Halt, "nats-url", "there is no address of a NATS server").WithHint("set NATS_URL or --nats-url")
	}
	for u := range strings.SplitSeq(c.URL, ",") {
		if _, err := url.Parse(strings.TrimSpace(u)); err != nil {
			// Its words would quote the URL, password and all.
			return fault.New(fault.Halt, "nats-url", "--nats-url is not the address of a NATS server").WithHint("use nats://HOST:PORT, or tls://HOST:PORT")
		}
	}
	return c.Login.Check()
}

// Redacted returns the URLs without passwords and tokens.
func (c Config) Redacted() string {
	parts := strings.Split(c.URL, ",")
	for i, p := range parts {
		switch u, err := url.Parse(strings.TrimSpace(p)); {
		case err != nil:
			parts[i] = "xxxxx"
		case u.User != nil:
			u.User = url.User("xxxxx")
			parts[i] = u.String()
		}
	}
	return strings.Join(parts, ",")
}

// Connect dials NATS under the client name that 'nats server list' shows. It
// waits for a server that is still starting until ctx ends, and afterwards
// reconnects for ever: a stage outlives its broker. A server older than
// MinimumServer is refused; one that is met by reconnecting is told of.
func Connect(ctx context.Context, cfg Config, name string, opts ...nats.Option) (*nats.Conn, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	login, err := cfg.options()
	if err != nil {
		return nil, err
	}
	options := append([]nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.PingInterval(20 * time.Second),
		// What is published while disconnected is retried by the stage, which
		// knows what was acknowledged; a silent buffer would only hide the gap.
		nats.ReconnectBufSize(-1),
		nats.Timeout(5 * time.Second),
		// Servers learn of a new user one after the other: a refusal while
		// reconnecting is no reason to give up. The first connection's is.
		nats.IgnoreAuthErrorAbort(),
	}, append(login, opts...)...)
	// A server that restarts may break a handshake off; one that goes on doing so
	// does not like our certificate.
	told := &teller{tell: cfg.Tell}
	for broken := 0; ; {
		nc, err := nats.Connect(cfg.URL, options...)
		if err == nil {
			if old := Fit(nc); old != nil {
				nc.Close()
				return nil, old
			}
			told.say(nil)
			if cfg.Tell != nil {
				go cfg.watch(nc, told)
			}
			return nc, nil
		}
		var untrusted *tls.CertificateVerificationError
		var alert *net.OpError
		if broken++; !errors.Is(err, nats.ErrTLS) && !(errors.As(err, &alert) && alert.Op == "remote error") {
			broken = 0
		}
		switch {
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrNkeysNotSupported):
			return nil, fault.Wrap(err, fault.Halt, "nats-auth", "NATS at %s refuses these credentials", cfg.Redacted()).
				WithHint("set --nats-nkey (NATS_NKEY) or --nats-creds (NATS_CREDS) to a user of that server")
		case errors.As(err, &untrusted):
			return nil, fault.Wrap(err, fault.Halt, "nats-tls", "the certificate of NATS at %s is not trusted", cfg.Redacted()).
				WithHint("set --nats-ca (NATS_CA) to the authority that signed it, and name the server as its certificate does")
		case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
			return nil, fault.Wrap(err, fault.Halt, "nats-tls", "NATS at %s and this process do not agree on TLS", cfg.Redacted()).
				WithHint("set --nats-ca (NATS_CA) for a server with TLS, and not for one without")
		}
		if broken == 5 {
			return nil, fault.Wrap(err, fault.Halt, "nats-tls", "NATS at %s breaks TLS off", cfg.Redacted()).
				WithHint("set --nats-cert and --nats-key (NATS_CERT, NATS_KEY) to a client certificate that it accepts")
		}
		told.say(cfg.unreachable(err))
		select {
		case <-ctx.Done():
			return nil, cfg.unreachable(err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
