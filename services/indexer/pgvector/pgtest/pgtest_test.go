package pgtest_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

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

// The server is a real one: pgvector is there, and what was committed outlives
// its death.
func TestServer(t *testing.T) {
	s := pgtest.New(t)
	url := s.Database(t)
	pgtest.Exec(t, url, "CREATE EXTENSION vector", "CREATE TABLE kept (v vector(2))", "INSERT INTO kept VALUES ('[3,4]')")
	for range 2 {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	if _, err := pgx.Connect(ctx, url); err == nil {
		t.Fatal("a killed server answers")
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var norm float64
	if err := conn.QueryRow(ctx, "SELECT vector_norm(v) FROM kept").Scan(&norm); err != nil || norm != 5 {
		t.Fatal(norm, err)
	}
}
