package pgvector

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"sluice/services/indexer/conformance"
	"sluice/services/indexer/index"
	"sluice/services/indexer/pgvector/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := pgtest.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func open(t testing.TB, place string) *Store {
	t.Helper()
	s, err := Open(context.Background(), place, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) index.Store { return open(t, pgtest.Shared(t).Place(t)) })
}
