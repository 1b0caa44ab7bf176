package mock_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/provider"
	"sluice/services/embedder/check"
	"sluice/services/embedder/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ provider.Embedder = mock.Embedder{}

func embed(t interface{ Fatal(...any) }, texts ...string) [][]float32 {
	in := make([]provider.Input, len(texts))
	for i, text := range texts {
		in[i] = provider.Input{Text: text, Tokens: 2}
	}
	e := mock.Embedder{}
	out, err := e.Embed(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if out, err = check.Vectors(e.Describe(), len(in), out); err != nil || out.Errs != nil {
		t.Fatal(err, out.Errs)
	}
	if out.Tokens != 2*len(in) || out.Nano != 0 {
		t.Fatal("tokens", out.Tokens, "nano", out.Nano)
	}
	return out.Vectors
}

func dot(a, b []float32) (s float64) {
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// The system before this one made mock vectors that depended on the place in
// the batch, so a retry in another batch gave another index.
func TestVectorDependsOnTextAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.String(), 1, 20).Draw(t, "texts")
		batch := embed(t, texts...)
		for i, text := range texts {
			if dot(batch[i], embed(t, text)[0]) < 1-1e-6 || batch[i][7] != embed(t, text)[0][7] {
				t.Fatalf("text %q has another vector at place %d of a batch than alone", text, i)
			}
			if n := math.Sqrt(dot(batch[i], batch[i])); math.Abs(n-1) > 1e-5 {
				t.Fatalf("length %v, want 1", n)
			}
			if d := dot(batch[0], batch[i]); text != texts[0] && math.Abs(d) > 0.2 {
				t.Fatalf("different texts have similarity %v", d)
			}
		}
	})
}

// The values were worked out apart from this code (Python: hashlib.sha256 and
// arbitrary-precision integers). A change means that stored mock vectors no
// longer match.
func TestGolden(t *testing.T) {
	v := mock.Vector("hello")
	for i, want := range goldenHello {
		if v[i] != want {
			t.Errorf("component %d is %v, want %v", i, v[i], want)
		}
	}
}

func TestEmbedStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (mock.Embedder{}).Embed(ctx, make([]provider.Input, 1)); !errors.Is(err, context.Canceled) {
		t.Fatal("error", err)
	}
}

func BenchmarkVector(b *testing.B) {
	text := string(make([]byte, 2000))
	b.ReportAllocs()
	for b.Loop() {
		mock.Vector(text)
	}
}

var goldenHello = []float32{-0.03510594740, -0.04069481790, 0.000141345357, -0.02778862230, -0.03519951924, 0.020819405093}
