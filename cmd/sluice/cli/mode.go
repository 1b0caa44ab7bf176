package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/provider/router"
)

// ModeCmd shows and changes the mode of a stage that calls a service.
type ModeCmd struct {
	Stage string `arg:"" optional:"" default:"embedder" enum:"embedder,parser" help:"The stage: embedder or parser."`
	Mode  string `arg:"" optional:"" default:"" help:"real, hybrid or local; default is what the stage was started with."`
	Online
}

// Help is shown by --help.
func (ModeCmd) Help() string {
	return examples("Says what a stage does while the service that it calls is away, live: real holds the work, hybrid has the local "+
		"provider take over, local asks the service no more at all. What the local provider made is tagged, shown as degraded, "+
		"and made again when the service is asked again. Stages whose provider is local or mock have no mode.",
		"sluice mode", "What holds for the embedder",
		"sluice mode embedder hybrid", "Have documents flow on during an outage",
		"sluice mode parser local", "Read documents here, and pay for them later",
		"sluice mode embedder default", "What the embedder was started with")
}

// Run shows or sets the mode.
func (cmd ModeCmd) Run(ctx context.Context, o *output) error {
	if cmd.Mode != "" && cmd.Mode != "default" {
		if _, err := router.ParseMode(cmd.Mode); err != nil {
			return usagef("use real, hybrid, local or default", "%v", err)
		}
	}
	c, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	kv, err := c.js.KeyValue(ctx, events.BucketPipeline)
	if err != nil {
		return fmt.Errorf("open the bucket %s: %w", events.BucketPipeline, err)
	}
	key := router.ModeKey(cmd.Stage)
	switch cmd.Mode {
	case "":
	case "default":
		err = kv.Purge(ctx, key)
	default:
		_, err = kv.PutString(ctx, key, cmd.Mode)
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "not-set", "the mode could not be changed")
	}
	mode := "default"
	e, err := kv.Get(ctx, key)
	switch {
	case err == nil:
		mode = string(e.Value())
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("read the mode: %w", err)
	}
	if o.json {
		return o.line(struct {
			Stage string `json:"stage"`
			Mode  string `json:"mode"`
		}{cmd.Stage, mode})
	}
	o.printf("%s: %s\n", cmd.Stage, safe(mode))
	return nil
}
