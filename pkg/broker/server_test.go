package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pkg/broker"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
)

// greet is a server as far as the greeting goes: all that Connect asks for is the
// version in it. Tests of a real old server are in e2e.
func greet(t *testing.T, version string) (url string, set func(version string)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	open := map[net.Conn]bool{}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			v := version
			mu.Unlock()
			running.Go(func() {
				defer func() { _ = c.Close() }() // the client closes it, too
				if _, err := fmt.Fprintf(c, `INFO {"server_id":"x","version":%q,"proto":1,"headers":true,"max_payload":1048576}`+"\r\n", v); err != nil {
					return
				}
				for in := bufio.NewScanner(c); in.Scan(); {
					if in.Text() == "PING" {
						if _, err := fmt.Fprint(c, "PONG\r\n"); err != nil {
							return
						}
					}
				}
			})
		}
	})
	end := func() {
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			_ = c.Close() // it may have ended
			delete(open, c)
		}
	}
	t.Cleanup(func() {
		_ = l.Close() // nothing was written to it
		end()
		running.Wait()
	})
	return "nats://" + l.Addr().String(), func(v string) {
		mu.Lock()
		version = v
		mu.Unlock()
		end()
	}
}

// A server that ignores what it does not know is refused at the door, with both
// versions.
func TestOldServersAreRefused(t *testing.T) {
	for version, fits := range map[string]bool{
		"2.9.25": false, "2.10.29": false, "2.11.17": false, "2.12.0": false, "2.12.0-RC.4": false,
		broker.MinimumServer: true, "2.12.1-RC.1": true, "2.15.2": true, "3.0.0": true, "v2.13.0+mine": true, "a build of mine": true,
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			url, _ := greet(t, version)
			nc, err := broker.Connect(t.Context(), broker.Config{URL: url}, "test")
			if fits {
				if err != nil {
					t.Fatal(err)
				}
				nc.Close()
				return
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Class != fault.Halt || f.Reason != broker.ReasonServer || f.Hint == "" ||
				!strings.Contains(f.Message, "nats-server "+version) || !strings.Contains(f.Message, broker.MinimumServer) {
				t.Errorf("%+v", err)
			}
		})
	}
}

// told collects what Connect tells.
type told struct {
	mu   sync.Mutex
	said []string
}

func (l *told) tell(f *fault.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f == nil {
		l.said = append(l.said, "over")
	} else {
		l.said = append(l.said, f.Reason)
	}
}

func (l *told) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.said, " ")
}

// A reconnect can end at another server: an old one is told of, and that it is over.
func TestAnOldServerIsToldOfAfterAReconnect(t *testing.T) {
	url, set := greet(t, "2.15.2")
	var l told
	nc, err := broker.Connect(t.Context(), broker.Config{URL: url, Tell: l.tell}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	set("2.11.17")
	natstest.Eventually(t, time.Minute, "the old server is told of", func() bool { return strings.HasSuffix(l.all(), broker.ReasonServer) })
	set("2.15.2")
	natstest.Eventually(t, time.Minute, "it is over", func() bool { return strings.HasSuffix(l.all(), "over") })
}

// Whoever waits for a server hears of it at once, and of a change once.
func TestWaitingForAServerIsTold(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "nats://" + free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var l told
	ended := make(chan error, 1)
	go func() {
		_, err := broker.Connect(ctx, broker.Config{URL: url, Tell: l.tell}, "test")
		ended <- err
	}()
	natstest.Eventually(t, time.Minute, "it is told", func() bool { return l.all() != "" })
	cancel()
	if err := <-ended; fault.From(err).Reason != "nats-unreachable" {
		t.Error(err)
	}
	if got := l.all(); got != "nats-unreachable" {
		t.Errorf("told %q", got)
	}
}
