package cli

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"sluice/pkg/fake/llamaparse"
	"sluice/pkg/fake/openai"
)

// FakeCmd serves a fake of a paid service.
type FakeCmd struct {
	OpenAI     FakeOpenAICmd     `cmd:"" name:"openai" help:"Serve a fake of OpenAI's embeddings."`
	LlamaParse FakeLlamaParseCmd `cmd:"" name:"llamaparse" help:"Serve a fake of LlamaParse."`
}

// Help is shown by --help.
func (FakeCmd) Help() string {
	return examples("Serves a fake of a paid service, to try a pipeline, its budget and its failures without paying. It keeps a meter of what it "+
		"would have charged (GET /_meter), and does what goes wrong at the real one on request (POST /_faults).",
		"sluice fake openai --listen 127.0.0.1:8088", "Then: sluice up --embedder openai --embedding-base-url http://127.0.0.1:8088/v1 --embedding-key any",
		"sluice fake llamaparse --work 20s", "Jobs that take their time")
}

// FakeOpenAICmd serves the embeddings endpoint.
type FakeOpenAICmd struct {
	Listen   string        `default:"127.0.0.1:8088" help:"HOST:PORT; port 0 takes any." placeholder:"HOST:PORT"`
	Key      []string      `help:"Accept only these keys." placeholder:"KEY"`
	Latency  time.Duration `default:"0s" help:"Of each answer."`
	Requests int           `default:"0" help:"A minute and key; 0 is no limit." placeholder:"N"`
	Tokens   int           `default:"0" help:"A minute and key; 0 is no limit." placeholder:"N"`
	Manners  string        `default:"openai" enum:"openai,tei,ollama,vllm,llamacpp" help:"Of which server: limits, errors, and what it leaves out (${enum})." placeholder:"SERVER"`
	Work     time.Duration `default:"0s" help:"Time that a batch takes."`
	Faults   string        `type:"path" help:"File with a JSON array of rules; see package sluice/pkg/fake/openai." placeholder:"FILE"`
	Seed     uint64        `default:"1" help:"Of the rules' probabilities." placeholder:"N"`
}

// Help is shown by --help.
func (FakeOpenAICmd) Help() string {
	return examples("Answers POST /v1/embeddings, GET /v1/models, /v1/files and /v1/batches as OpenAI does: limits, errors and usage, with vectors "+
		"that mean nothing. Ends with an interrupt, and prints what it would have charged.",
		"sluice fake openai", "On 127.0.0.1:8088",
		"sluice fake openai --requests 60 --latency 100ms", "A small account, far away")
}

// Run serves until ctx ends.
func (cmd FakeOpenAICmd) Run(ctx context.Context, o *output) error {
	cfg := openai.Config{Keys: cmd.Key, Latency: cmd.Latency, Requests: cmd.Requests, Tokens: cmd.Tokens, Seed: cmd.Seed, Batching: openai.Batching{Work: cmd.Work}}
	if cmd.Manners != "openai" {
		cfg.Personality = openai.Personality(cmd.Manners)
	}
	s, err := openai.New(cfg)
	if err != nil {
		return err
	}
	var rules []openai.Rule
	if err := readRules(cmd.Faults, &rules); err != nil {
		return err
	}
	s.Script(rules...)
	return serveFake(ctx, o, cmd.Listen, "/v1", s.Start, func() any { return s.Meter() })
}

// FakeLlamaParseCmd serves the parsing API.
type FakeLlamaParseCmd struct {
	Listen     string        `default:"127.0.0.1:8089" help:"HOST:PORT; port 0 takes any." placeholder:"HOST:PORT"`
	Key        []string      `help:"Accept only these keys." placeholder:"KEY"`
	Region     string        `default:"na" enum:"na,eu" help:"Of the server; with --key, a key may be given as REGION:KEY (${enum})."`
	Work       time.Duration `default:"2s" help:"Time that a job takes."`
	Billing    time.Duration `default:"1s" help:"From a job's end until its cost is known."`
	Concurrent int           `default:"0" help:"Jobs at once; 0 is no limit." placeholder:"N"`
	Faults     string        `type:"path" help:"File with a JSON array of rules; see package sluice/pkg/fake/llamaparse." placeholder:"FILE"`
}

// Help is shown by --help.
func (FakeLlamaParseCmd) Help() string {
	return examples("Answers LlamaParse's API v2: uploads, jobs, results, usage. Pages of a text end with form feeds. Ends with an interrupt, and "+
		"prints what it would have charged.",
		"sluice fake llamaparse", "On 127.0.0.1:8089",
		"sluice fake llamaparse --concurrent 5 --work 30s", "A small plan")
}

// Run serves until ctx ends.
func (cmd FakeLlamaParseCmd) Run(ctx context.Context, o *output) error {
	keys := map[string]string{}
	for _, k := range cmd.Key {
		region, key, elsewhere := strings.Cut(k, ":")
		if !elsewhere {
			region, key = cmd.Region, k
		}
		keys[key] = region
	}
	s := llamaparse.New(llamaparse.Config{Keys: keys, Region: cmd.Region, Work: cmd.Work, Billing: cmd.Billing, Concurrent: cmd.Concurrent})
	var rules []llamaparse.Rule
	if err := readRules(cmd.Faults, &rules); err != nil {
		return err
	}
	s.Script(rules...)
	return serveFake(ctx, o, cmd.Listen, "", s.Start, func() any { return s.Meter() })
}

func readRules(path string, to any) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return failf("unreadable", "check the path", "%v", err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return usagef("write a JSON array of rules", "%s: %v", path, err)
	}
	return nil
}

func serveFake(ctx context.Context, o *output, listen, base string, start func(string) (string, func() error, error), meter func() any) error {
	url, stop, err := start(listen)
	if err != nil {
		return failf("http-address", "choose another with --listen", "cannot listen on %s: %v", listen, err)
	}
	o.notef("serving at %s%s until it is interrupted; the meter is at %s/_meter\n", url, base, url)
	<-ctx.Done()
	if err := stop(); err != nil {
		return err
	}
	return o.line(meter())
}
