// Command natsserver is a nats-server in a process of its own, with the
// settings of 'sluice up', for tests that kill it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"

	"sluice/pkg/broker/embedded"
)

func main() {
	dir := flag.String("dir", "", "JetStream's files")
	port := flag.Int("port", 4222, "port to listen on")
	file := flag.String("config", "", "a nats-server configuration: users, TLS, the cluster")
	flag.Parse()
	if err := run(*dir, *file, *port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir, file string, port int) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()
	s, err := embedded.Start(embedded.Config{Dir: dir, File: file, Port: port, Log: log})
	if err != nil {
		return err
	}
	defer s.Stop()
	<-ctx.Done()
	return nil
}
