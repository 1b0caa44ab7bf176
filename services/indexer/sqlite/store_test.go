package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"sluice/services/indexer/conformance"
	"sluice/services/indexer/index"
)

func verify(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) index.Store {
		s, err := Open(context.Background(), filepath.Join(t.TempDir(), "index.db"), Options{Relaxed: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}

func TestALockedFileIsNobodysFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	s, err := Open(context.Background(), path, Options{Relaxed: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 10"); err != nil {
		t.Fatal(err)
	}
	conformance.Away(t, s, func(t *testing.T) func() {
		other, err := sql.Open("sqlite", dsn(path))
		if err != nil {
			t.Fatal(err)
		}
		other.SetMaxOpenConns(1)
		if _, err := other.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := other.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
