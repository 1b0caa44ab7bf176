package natstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"sluice/pkg/broker"
	"sluice/pkg/broker/embedded"
)

// Security is what a secured server and its clients need: seeds, the generated
// configuration of the users' rights, and certificates of an authority that lives
// as long as the test.
type Security struct {
	Dir    string // of the seeds, and of what follows
	Auth   string // the configuration of the rights
	CA     string
	Cert   string // of servers, for 127.0.0.1
	Key    string
	Client string // a client's certificate
	Secret string // and its key

	services []broker.Service
}

// Secure makes all of it, for the users of these services, in a directory of the test.
func Secure(tb testing.TB, services ...broker.Service) Security {
	tb.Helper()
	s := Security{Dir: tb.TempDir(), services: services}
	users := broker.Users(services...)
	public, _, err := broker.Keys(s.Dir, users)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := broker.ServerAuth(users, public)
	if err != nil {
		tb.Fatal(err)
	}
	s.Auth = s.file(tb, "auth.conf", []byte(text))
	ca, signer := s.certificate(tb, "ca", nil, nil)
	s.CA = filepath.Join(s.Dir, "ca.pem")
	s.certificate(tb, "server", ca, signer)
	s.Cert, s.Key = filepath.Join(s.Dir, "server.pem"), filepath.Join(s.Dir, "server.key")
	s.certificate(tb, "client", ca, signer)
	s.Client, s.Secret = filepath.Join(s.Dir, "client.pem"), filepath.Join(s.Dir, "client.key")
	return s
}

func (s Security) file(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// certificate writes a certificate and its key. Without a parent it signs itself.
func (s Security) certificate(tb testing.TB, name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sluice test " + name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	if parent == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	s.file(tb, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.file(tb, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	c, err = x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c, key
}

// TLS returns the server's configuration of TLS. With verify, clients need a
// certificate.
func (s Security) TLS(verify bool) string {
	text := fmt.Sprintf("tls { cert_file: %q, key_file: %q", s.Cert, s.Key)
	if verify {
		text += fmt.Sprintf(", ca_file: %q, verify: true", s.CA)
	}
	return text + " }\n"
}

// Include returns the server's configuration of the users' rights.
func (s Security) Include() string { return fmt.Sprintf("include %q\n", filepath.Base(s.Auth)) }

// Config writes a server's configuration next to the rights, which it includes.
func (s Security) Config(tb testing.TB, name, text string) string {
	tb.Helper()
	return s.file(tb, name, []byte(text))
}

// Login returns how a user connects.
func (s Security) Login(user string) broker.Login {
	return broker.Login{NKey: filepath.Join(s.Dir, broker.SeedFile(user)), InboxPrefix: broker.InboxPrefix(user)}
}

// Start returns the URL of a server with the configuration, on which the user
// "apply" has made the topology.
func (s Security) Start(tb testing.TB, more string, login func(user string) broker.Login) string {
	tb.Helper()
	server, err := embedded.Start(embedded.Config{
		Dir: tb.TempDir(), File: s.Config(tb, "nats.conf", s.Include()+more), Log: zerolog.Nop(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Stop)
	nc := s.Connect(tb, server.URL(), login(broker.UserApply))
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := broker.Apply(ctx, js, broker.DefaultTopology(), false, s.services...); err != nil {
		tb.Fatal(err)
	}
	return server.URL()
}

// Connect connects as a user, until the test ends.
func (s Security) Connect(tb testing.TB, url string, login broker.Login, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, err := broker.Connect(ctx, broker.Config{URL: url, Login: login}, tb.Name(), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}
