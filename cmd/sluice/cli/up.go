package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"sluice/cmd/sluice/allinone"
	"sluice/pkg/broker"
	"sluice/pkg/events"
	"sluice/pkg/stage"
	"sluice/services/embedder"
	"sluice/services/indexer"
)

// NodeOptions place an all-in-one; up and run share them.
type NodeOptions struct {
	Data     string `env:"SLUICE_DATA" default:".sluice" type:"path" help:"Directory of everything that is kept." placeholder:"DIR" group:"Place:"`
	NATSURL  string `name:"nats-url" env:"SLUICE_NATS_URL" help:"Join this NATS server instead of starting one." placeholder:"URL" group:"Place:"`
	Index    string `env:"SLUICE_INDEX" help:"An SQLite file, or the URL of a Postgres with pgvector (postgres://USER@HOST/DATABASE; its password by the environment); default: index.db in the data directory." placeholder:"FILE|URL" group:"Place:"`
	Replicas int    `env:"SLUICE_REPLICAS" default:"1" help:"Replicas of streams and buckets, if they do not exist yet." group:"Place:"`
	MaxBytes int64  `name:"stream-max-bytes" env:"SLUICE_STREAM_MAX_BYTES" default:"4294967296" help:"Bytes of each hand-off stream, if it does not exist yet." group:"Place:"`

	Login    broker.Login `embed:"" group:"Connection:"`
	Topology broker.Mode  `env:"SLUICE_TOPOLOGY" default:"ensure" enum:"ensure,bind" help:"${enum}: make the streams, consumers and buckets that are missing, or only look them up." group:"Connection:"`

	IndexConnections int           `env:"SLUICE_INDEX_CONNECTIONS" default:"8" help:"Most connections to a Postgres index." group:"Indexer:"`
	IndexTimeout     time.Duration `env:"SLUICE_INDEX_TIMEOUT" default:"1m" help:"Longest time of a statement on a Postgres index." group:"Indexer:"`
	IndexerBatch     int           `env:"SLUICE_INDEXER_BATCH" default:"512" help:"Most chunks of a transaction." group:"Indexer:"`
	IndexerWait      time.Duration `env:"SLUICE_INDEXER_WAIT" default:"10ms" help:"Time for a transaction to fill." group:"Indexer:"`
	IndexRelaxed     bool          `env:"SLUICE_INDEX_RELAXED" help:"Do not wait until a commit is on the disk: faster, and a power failure may undo the last ones." group:"Indexer:"`
	Reconcile        time.Duration `env:"SLUICE_RECONCILE" default:"5m" help:"How often the states of documents are compared with the index, and lost documents are looked for; 0 = never." group:"Indexer:"`

	allinone.Stages
}

func (n NodeOptions) config(listen, http string, log zerolog.Logger) allinone.Config {
	cfg := allinone.Config{
		Data: n.Data, Listen: listen, Join: broker.Config{URL: n.NATSURL, Login: n.Login}, Topology: n.Topology, HTTP: http,
		Replicas: n.Replicas, MaxBytes: n.MaxBytes, Stages: n.Stages, Log: log, Version: Version,
	}
	cfg.Stages.Indexer = indexer.Config{
		Path: n.Index, Connections: n.IndexConnections, Timeout: n.IndexTimeout, Batch: n.IndexerBatch, Wait: n.IndexerWait,
		Relaxed: n.IndexRelaxed, Reconcile: n.Reconcile,
	}
	return cfg
}

// startPatience bounds the start of a node.
const startPatience = 30 * time.Second

// UpCmd runs everything until interrupted.
type UpCmd struct {
	NATS string `name:"nats" env:"SLUICE_NATS" default:"127.0.0.1:4222" help:"Address of the NATS server; port 0 takes any." placeholder:"HOST:PORT" group:"Place:"`
	HTTP string `name:"http" env:"SLUICE_HTTP" default:"127.0.0.1:8642" help:"Address of the status page, /healthz, /readyz and /metrics; port 0 takes any." placeholder:"HOST:PORT" group:"Place:"`
	NodeOptions
	Log stage.LogConfig `embed:"" group:"Log:"`
}

// Help is shown by --help.
func (UpCmd) Help() string {
	return examples("Runs a NATS server with JetStream and all stages in this process until interrupted; what is in hand is finished first. "+
		"Nothing else is needed: no key, no service. The 'nats' command works with it. All is kept in the data directory: stop and start as you like. "+
		"Every flag can be given as an environment variable.",
		"sluice up", "Start here",
		"sluice up --data /var/lib/sluice --http 0.0.0.0:8642", "Keep the data elsewhere, show the status page to the network",
		"sluice up --nats-url nats://nats.internal:4222", "Join a NATS server that runs already",
		"sluice up --index postgres://sluice@db.internal/sluice", "Index in a Postgres with pgvector",
		"sluice up --max-tokens 256 --strategy sentence", "Other chunks")
}

// ready is the JSON of a started node.
type ready struct {
	NATS     string  `json:"nats"`
	HTTP     string  `json:"http,omitempty"`
	Data     string  `json:"data"`
	Index    string  `json:"index"` // without credentials
	Embedder string  `json:"embedder"`
	PID      int     `json:"pid"`
	Seconds  float64 `json:"seconds"` // to start
}

// Run runs until ctx ends.
func (cmd UpCmd) Run(ctx context.Context, o *output) (err error) {
	f, ok := o.Err.(*os.File)
	log := zerolog.New(o.Err).With().Timestamp().Logger()
	if ok {
		log = cmd.Log.Logger(f)
	}
	began := time.Now()
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	node, err := allinone.Start(starting, cmd.config(cmd.NATS, cmd.HTTP, log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	model := ""
	if info, err := embedder.Describe(cmd.Embedder); err == nil {
		model = info.Model
	}
	r := ready{NATS: node.URL, HTTP: "http://" + node.HTTP, Data: cmd.Data, Index: node.Index, Embedder: model, PID: os.Getpid(), Seconds: time.Since(began).Seconds()}
	if o.json {
		if err := o.line(r); err != nil {
			return err
		}
	} else {
		flag := ""
		if _, port, err := net.SplitHostPort(cmd.NATS); cmd.NATSURL != "" || err != nil || port != "4222" {
			flag = " --nats-url " + node.URL
		}
		o.printf("%s in %s s; Ctrl-C stops it\n", o.paint(good, "ready"), seconds(time.Since(began)))
		o.printf("  nats      %s\n  status    %s\n  data      %s\n  index     %s\n  embedder  %s\n", r.NATS, r.HTTP, r.Data, r.Index, r.Embedder)
		o.printf("next: sluice ingest FILE%s\n", flag)
	}
	select {
	case <-ctx.Done():
		o.notef("stopping: finishing what is in hand")
		return nil
	case err := <-node.Failed():
		return err
	}
}

// RunCmd processes documents from start to end.
type RunCmd struct {
	Paths []string `arg:"" name:"path" help:"Files, directories, patterns, http(s) URLs, or - for standard input."`
	Query string   `short:"q" help:"Then search for this." placeholder:"TEXT"`
	K     int      `short:"k" default:"3" help:"How many results to show; default ${default}." placeholder:"N"`
	NATS  string   `name:"nats" env:"SLUICE_NATS" default:"127.0.0.1:0" help:"Address of the NATS server while this runs; port 0 takes any." placeholder:"HOST:PORT" group:"Place:"`
	SubmitOptions
	NodeOptions
	LogLevel string `env:"SLUICE_LOG_LEVEL" default:"info" enum:"trace,debug,info,warn,error" help:"Least level to log to run.log in the data directory (${enum})." group:"Log:"`
}

// Help is shown by --help.
func (RunCmd) Help() string {
	return examples("Starts a NATS server and all stages in this process, submits the documents, waits until all are final, prints what became of them, "+
		"and stops. The data directory keeps everything: a second run finds duplicates, and 'sluice up' serves the same documents.",
		"sluice run report.pdf", "Process a document",
		"sluice run --query \"notice period\" contracts", "Process a directory and search it",
		"sluice run --data /tmp/try --embedder mock docs", "Try in a directory of its own")
}

// Run runs.
func (cmd RunCmd) Run(ctx context.Context, o *output) (err error) {
	sources, err := cmd.sources(cmd.Paths)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cmd.Data, 0o755); err != nil {
		return failf("data-directory", "set --data to a directory of your own", "cannot make the data directory: %v", err)
	}
	path := filepath.Join(cmd.Data, "run.log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return failf("data-directory", "set --data to a directory of your own", "cannot write the log: %v", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	log := stage.LogConfig{Level: cmd.LogLevel, Format: "json"}.Logger(file)
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	node, err := allinone.Start(starting, cmd.config(cmd.NATS, "", log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	c, err := connectNode(ctx, node)
	if err != nil {
		return err
	}
	// A stage that cannot go on ends the waiting.
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case err := <-node.Failed():
			stop(fmt.Errorf("the pipeline stopped: %w", err))
		case <-working.Done():
		}
	}()
	_, err = ingest(working, o, c, cmd.SubmitOptions, sources, true)
	if cause := context.Cause(working); cause != nil && ctx.Err() == nil {
		return cause
	}
	if cmd.Query != "" && ctx.Err() == nil {
		if !o.json {
			o.printf("\nsearch: %s\n\n", safe(cmd.Query))
		}
		err = errors.Join(err, search(ctx, o, c, events.SearchRequest{Query: cmd.Query, K: cmd.K}))
	}
	return err
}

// connectNode returns a client on the node's own connection, which the node closes.
func connectNode(ctx context.Context, node *allinone.Node) (*client, error) {
	kv, err := node.Env.JS.KeyValue(ctx, events.BucketDocuments)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", events.BucketDocuments, err)
	}
	return &client{nc: node.Conn, js: node.Env.JS, documents: kv}, nil
}
