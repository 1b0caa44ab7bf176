package stage_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/natstest"
	"sluice/pkg/stage"
)

// A function that does not heed its context does not keep its stage for ever, nor
// what is closed after the stages.
func TestAFunctionThatIgnoresItsContext(t *testing.T) {
	s := quick()
	s.AckWait, s.Grace = time.Second, 50*time.Millisecond
	env := natstest.Env(t, natstest.Start(t, broker.DefaultTopology()), s)
	release, inside := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- stage.Run(ctx, env, stage.Stage{
			Declaration: stage.Declaration{Name: "deaf", In: stage.Route{Stream: events.StreamParsed}}, Workers: 2,
			Handle: func(context.Context, *stage.Message) error {
				close(inside)
				<-release
				return nil
			},
		})
	}()
	defer close(release)
	submit(t, env.JS, "acme", "a")
	<-inside
	cancel()
	select {
	case err := <-ended:
		if f := fault.From(err); !stage.IsStuck(err) || f.Class != fault.Execution || f.Hint == "" || !strings.Contains(f.Message, "1 calls of the function of stage deaf") {
			t.Errorf("the end of the stage: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the stage has not ended a minute after it was told to")
	}
}

// deafEnv has the test's binary be a process whose function, and what is closed after
// it, never return.
const deafEnv = "SLUICE_TEST_DEAF"

func deaf() int {
	never := make(chan struct{})
	service := broker.Service{
		Name: "deaf", About: "Hears nothing.",
		Stages: []broker.Declaration{{Name: "deaf", In: broker.Route{Stream: events.StreamParsed}}},
	}
	return stage.Main(service, func(context.Context, *stage.Env, *struct{}) ([]stage.Stage, func() error, error) {
		return []stage.Stage{{
			Declaration: service.Stages[0], Workers: 1,
			Handle: func(context.Context, *stage.Message) error {
				fmt.Println("inside")
				<-never
				return nil
			},
		}}, func() error { <-never; return nil }, nil
	})
}

// Its process ends, with a word and the exit code of a failure. What it had in hand
// comes again to another one.
func TestAProcessWithADeafFunctionEnds(t *testing.T) {
	url := natstest.Start(t, broker.DefaultTopology())
	js, err := jetstream.New(natstest.Connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--nats-url", url, "--grace", "50ms", "--ack-wait", "1s", "--log-format", "json")
	cmd.Env = append(os.Environ(), deafEnv+"=1")
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := time.AfterFunc(2*natstest.Patience, func() { _ = cmd.Process.Kill() }) // the test says what is missing
	defer over.Stop()
	submit(t, js, "acme", "a")
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "inside\n" {
		t.Fatalf("%q, %v: %s", line, err, &words)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // how it ended is read from ProcessState
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(words.String(), "1 calls of the function of stage deaf have not returned 3s after the grace period") {
		t.Errorf("it ended with %d and these words:\n%s", code, &words)
	}
	done := make(chan struct{})
	natstest.Run(t, natstest.Env(t, url, quick()), stage.Stage{
		Declaration: stage.Declaration{Name: "deaf", In: stage.Route{Stream: events.StreamParsed}}, Workers: 1,
		Handle: func(context.Context, *stage.Message) error { close(done); return nil },
	})
	select {
	case <-done:
	case <-time.After(natstest.Patience):
		t.Error("what it had in hand did not come again")
	}
}
