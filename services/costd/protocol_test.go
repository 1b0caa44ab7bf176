package costd_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/budget"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
)

// gateAt is a gate of a process whose clock is off, reached at its own URL.
func (w *world) gateAt(url string, off, skew time.Duration) *budget.Gate {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	var g *budget.Gate
	for deadline := time.Now().Add(20 * time.Second); g == nil; {
		g, err = budget.NewGate(w.t.Context(), budget.Config{
			Conn: nc, JS: js, Log: w.log(), Now: func() time.Time { return w.now().Add(off) }, Skew: skew, Wait: 2 * time.Second, Call: time.Second,
		})
		if err != nil && time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Close(ctx); err != nil {
			w.t.Errorf("close a gate: %v", err)
		}
	})
	return g
}

// The last hour of a day turns into the first of the next while processes whose
// clocks disagree spend as fast as they may: each hour and each day of the
// provider's clock keeps its limit, and each is used.
func TestTheHourAndTheDayTurn(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	midnight := now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	w.shift = midnight.Add(-4 * time.Second).Sub(now)
	hour, dayLimit := int64(60_000), int64(70_000)
	w.costd("a", budget.Limits{HourNano: &hour, DayNano: &dayLimit})
	const skew = 400 * time.Millisecond
	var mu sync.Mutex
	charged := map[string]int64{}
	var wg sync.WaitGroup
	for i := range 6 {
		g := w.gateAt(w.url, time.Duration(i-3)*100*time.Millisecond, skew)
		for range 3 {
			wg.Go(func() {
				for w.now().Before(midnight.Add(4 * time.Second)) {
					tk, err := g.Admit(w.t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
					if err != nil {
						if fault.Of(err) != fault.CostLimit {
							t.Errorf("admit: %v", err)
							return
						}
						time.Sleep(10 * time.Millisecond) // the stage would wait for the wake-up
						continue
					}
					time.Sleep(5 * time.Millisecond) // the call takes a while
					mu.Lock()
					for _, win := range budget.Windows(w.now()) {
						charged[win.Key()] += 1000
					}
					mu.Unlock()
					tk.Settle(1000)
				}
			})
		}
	}
	wg.Wait()
	if len(charged) != 4 {
		t.Errorf("windows charged: %v, want two hours and two days", charged)
	}
	for k, v := range charged {
		// How much of a window is used before it ends depends on the machine.
		if may := hour - hour/100; v > may || v < may/2 {
			t.Errorf("window %s: %d charged, the limit is %d, a hundredth for searches", k, v, hour)
		}
	}
}

// proxy passes connections on to the server. It can keep all answers to itself,
// and cut the connections, so that requests and answers are lost on the way.
type proxy struct {
	listener net.Listener
	target   string
	mute     atomic.Bool // nothing reaches the clients
	running  sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: u.Host, open: map[net.Conn]bool{}}
	p.running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = in.Close() // the client will try again
				continue
			}
			p.mu.Lock()
			p.open[in], p.open[out] = true, true
			p.mu.Unlock()
			pass := func(to, from net.Conn, may func() bool) {
				// It ends when one of them is cut, and then both are.
				defer to.Close()
				defer from.Close()
				for buf := make([]byte, 32<<10); ; {
					n, err := from.Read(buf)
					if err != nil || !may() {
						if err != nil {
							return
						}
						continue
					}
					if _, err := to.Write(buf[:n]); err != nil {
						return
					}
				}
			}
			p.running.Go(func() { pass(in, out, func() bool { return !p.mute.Load() }) })
			p.running.Go(func() { pass(out, in, func() bool { return true }) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() // closed or not, it is gone
		delete(p.open, c)
	}
}

// Connections are cut all the time: of some requests the answer is lost, of some
// the request. Each is counted once.
func TestLostRepliesAreNotPaidTwice(t *testing.T) {
	w := newWorld(t)
	w.terms.TTL, w.terms.Call = 10*time.Second, 2*time.Second
	w.costd("a", day(1_500_000))
	p := newProxy(t, w.url)
	var wg sync.WaitGroup
	for i := range 5 {
		g := w.gateAt(p.url(), 0, 0)
		for j := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				for last := time.Now(); time.Since(last) < 5*time.Second; {
					tk, err := g.Admit(w.t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
					if err != nil {
						time.Sleep(10 * time.Millisecond) // the stage would wait for the wake-up
						continue
					}
					time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond)
					w.call(tk, r, 0)
					last = time.Now()
				}
			})
		}
	}
	cutting := make(chan struct{})
	var cutter sync.WaitGroup
	cuts := 0
	cutter.Go(func() {
		for {
			select {
			case <-cutting:
				return
			case <-time.After(time.Duration(250+rand.IntN(250)) * time.Millisecond):
				p.mute.Store(true)
				time.Sleep(50 * time.Millisecond) // requests arrive, answers do not
				p.cut()
				p.mute.Store(false)
				cuts++
			}
		}
	})
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(10 * time.Second):
	}
	close(cutting)
	cutter.Wait()
	<-finished
	t.Logf("%d cuts, %d calls, %d n$ of 1,500,000", cuts, w.calls.Load(), w.nano.Load())
	if cuts < 5 || w.calls.Load() < 100 {
		t.Error("too little has happened for a test")
	}
	if got := w.nano.Load(); got > 1_500_000 {
		t.Errorf("the meter says %d, the limit is 1500000", got)
	}
	natstest.Eventually(t, 30*time.Second, "the ledger equals the meter", func() bool {
		settled, reserved := w.spent()
		return settled.Nano == w.nano.Load() && settled.Requests == w.calls.Load() && reserved.IsZero()
	})
}

// One tenant's money is spent; the other's calls go on as if nothing were.
func TestTenantsDoNotHoldEachOther(t *testing.T) {
	w := newWorld(t)
	ten := int64(10_000)
	w.costd("a", day(1_000_000))
	nc, _ := w.connect()
	change := func(to int64) {
		natstest.Eventually(t, 10*time.Second, "the change", func() bool {
			_, err := nc.Request(budget.SubjectSet, events.Encode(budget.Change{Scope: budget.Tenant("acme"), DayNano: &to}), time.Second)
			return err == nil
		})
	}
	change(ten)
	g := w.gate(nil)
	spend := func(tenant string, calls int) (made int, last error) {
		for range calls {
			tk, err := g.Admit(t.Context(), "openai", tenant, budget.Amount{Nano: 1000, Requests: 1})
			if err != nil {
				return made, err
			}
			tk.Settle(1000)
			made++
		}
		return made, nil
	}
	made, err := spend("acme", 20)
	if f := fault.From(err); made != 10 || f.Class != fault.CostLimit || f.Wait != "budget:tenant.acme" {
		t.Fatalf("%d calls of acme, then %v", made, err)
	}
	if made, err := spend("zenith", 500); made != 500 {
		t.Errorf("%d calls of zenith, then %v", made, err)
	}
	change(20_000)
	natstest.Eventually(t, time.Second, "the raise is felt within a second", func() bool {
		made, _ := spend("acme", 1)
		return made == 1
	})
}

// Answers that were committed and lost, one after the other: the same request is
// sent again, and counts once.
func TestALostAnswerIsGivenAgain(t *testing.T) {
	w := newWorld(t)
	w.terms.TTL, w.terms.Call = 20*time.Second, 2*time.Second
	w.costd("a", day(1_000_000_000))
	p := newProxy(t, w.url)
	g := w.gateAt(p.url(), 0, 0)
	admit := func(nano int64) *budget.Ticket {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			tk, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: nano, Requests: 1})
			if err == nil {
				return tk
			}
		}
		t.Fatal("not admitted in time")
		return nil
	}
	spend := func(tk *budget.Ticket, nano int64) {
		w.nano.Add(nano)
		w.calls.Add(1)
		tk.Settle(nano)
	}
	spend(admit(1000), 900)
	lost := 0
	for i := range int64(5) {
		estimate := 1_000_000 * (i + 1) // more than any lease has left: costd is asked
		settled, reserved := w.spent()
		p.mute.Store(true)
		admitted := make(chan *budget.Ticket, 1)
		go func() { admitted <- admit(estimate) }()
		// An earlier request may be the one whose answer is lost; then ours waits.
		for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if s, r := w.spent(); s.Plus(r).Nano >= settled.Plus(reserved).Nano+estimate/2 {
				lost++
				break
			}
		}
		p.cut()
		p.mute.Store(false)
		tk := <-admitted
		if tk == nil {
			return
		}
		spend(tk, estimate-100)
	}
	if lost == 0 {
		t.Error("no answer was lost after its commit")
	}
	natstest.Eventually(t, 20*time.Second, "the ledger equals the meter", func() bool {
		settled, reserved := w.spent()
		return settled.Nano == w.nano.Load() && settled.Requests == w.calls.Load() && reserved.IsZero()
	})
}

// A call that takes longer than costd's round keeps its money.
func TestALeaseInUseIsNotReclaimed(t *testing.T) {
	w := newWorld(t)
	w.costd("a", day(1_000_000))
	g := w.gate(nil)
	tk, err := g.Admit(t.Context(), "openai", "acme", budget.Amount{Nano: 1000, Requests: 1})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // the call
		if settled, reserved := w.spent(); settled.Nano != 0 || reserved.Nano < 1000 {
			t.Fatalf("settled %+v and out %+v while the call is under way", settled, reserved)
		}
	}
	tk.Settle(600)
	natstest.Eventually(t, 15*time.Second, "what was not used came back", func() bool {
		settled, reserved := w.spent()
		return settled == budget.Amount{Nano: 600, Requests: 1} && reserved.IsZero()
	})
}
