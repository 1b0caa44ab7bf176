package check_test

import (
	"errors"
	"math"
	"testing"

	"go.uber.org/goleak"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/services/embedder/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var info = provider.EmbedderInfo{Service: "openai", Model: "m-3", Dimensions: 3}

func TestGoodVectorsPassUntouched(t *testing.T) {
	refused := errors.New("refused by the provider")
	in := provider.Embeddings{
		Vectors: [][]float32{{1, 0, 0}, nil, {0, 3, 4}},
		Errs:    []error{nil, refused, nil},
		Tokens:  9, Nano: 12,
	}
	out, err := check.Vectors(info, 3, in)
	if err != nil {
		t.Fatal(err)
	}
	if out.Errs[1] != refused || out.Errs[0] != nil || out.Vectors[1] != nil || out.Vectors[2][2] != 4 || out.Tokens != 9 {
		t.Fatalf("changed: %+v", out)
	}
	out, err = check.Vectors(info, 1, provider.Embeddings{Vectors: [][]float32{{1, 0, 0}}, Errs: make([]error, 1)})
	if err != nil || out.Errs != nil {
		t.Fatal("errors where there are none:", err, out.Errs)
	}
}

func TestBadVectorsFailAlone(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	bad := map[string][]float32{
		"no-vector":        {},
		"wrong-dimensions": {1, 0},
		"not-a-number":     {0, nan, 0},
		"zero-vector":      {0, 0, 0},
		"odd-length":       {1e-9, 0, 0},
	}
	for reason, v := range bad {
		given := [][]float32{{1, 0, 0}, v, {0, 1, 0}}
		out, err := check.Vectors(info, 3, provider.Embeddings{Vectors: given})
		if err != nil {
			t.Fatal(reason, err)
		}
		var f *fault.Error
		if !errors.As(out.Errs[1], &f) || f.Reason != reason || f.Class != fault.Unavailable || f.Hint == "" {
			t.Errorf("%s: fault %#v", reason, out.Errs[1])
		}
		if out.Vectors[1] != nil || out.Vectors[0] == nil || out.Vectors[2] == nil || out.Errs[0] != nil || out.Errs[2] != nil {
			t.Errorf("%s: neighbours were touched: %v %v", reason, out.Vectors, out.Errs)
		}
		if len(v) > 0 && given[1] == nil {
			t.Errorf("%s: the caller's slice was changed", reason)
		}
	}
	for _, v := range [][]float32{{inf, 0, 0}, {3e38, 3e38, 0}} {
		if out, err := check.Vectors(info, 1, provider.Embeddings{Vectors: [][]float32{v}}); err != nil || out.Errs == nil {
			t.Errorf("%v passed", v)
		}
	}
}

func TestResponsesThatDoNotFit(t *testing.T) {
	one := [][]float32{{1, 0, 0}}
	for name, c := range map[string]struct {
		inputs int
		out    provider.Embeddings
		class  fault.Class
		reason string
	}{
		"too few vectors":  {2, provider.Embeddings{Vectors: one}, fault.Unavailable, "bad-response"},
		"none at all":      {1, provider.Embeddings{}, fault.Unavailable, "bad-response"},
		"errors":           {1, provider.Embeddings{Vectors: one, Errs: make([]error, 2)}, fault.Unavailable, "bad-response"},
		"reuse marks":      {1, provider.Embeddings{Vectors: one, Reused: make([]bool, 2)}, fault.Unavailable, "bad-response"},
		"negative tokens":  {1, provider.Embeddings{Vectors: one, Tokens: -1}, fault.Unavailable, "bad-response"},
		"another model":    {1, provider.Embeddings{Vectors: [][]float32{{1, 0}}}, fault.Halt, "wrong-dimensions"},
		"and with a hole":  {2, provider.Embeddings{Vectors: [][]float32{{1, 0}, nil}}, fault.Halt, "wrong-dimensions"},
		"another model, 2": {2, provider.Embeddings{Vectors: [][]float32{{1, 0}, {0, 1}}}, fault.Halt, "wrong-dimensions"},
	} {
		_, err := check.Vectors(info, c.inputs, c.out)
		var f *fault.Error
		if !errors.As(err, &f) || f.Class != c.class || f.Reason != c.reason || f.Hint == "" {
			t.Errorf("%s: %#v, want %s %s", name, err, c.class, c.reason)
		}
	}
}

func FuzzVectors(f *testing.F) {
	f.Add(2, []byte{1, 2, 3, 0, 0, 0, 255, 255})
	f.Add(0, []byte{})
	f.Fuzz(func(t *testing.T, inputs int, raw []byte) {
		var in provider.Embeddings
		for len(raw) > 0 {
			n := min(int(raw[0]%5), len(raw)-1)
			v := make([]float32, n)
			for i, b := range raw[1 : 1+n] {
				v[i] = math.Float32frombits(uint32(b) << 23)
			}
			in.Vectors = append(in.Vectors, v)
			raw = raw[1+n:]
		}
		out, err := check.Vectors(info, inputs, in)
		if err != nil {
			return
		}
		if len(out.Vectors) != inputs {
			t.Fatal("a call of the wrong size passed")
		}
		for i, v := range out.Vectors {
			if failed := out.Errs != nil && out.Errs[i] != nil; failed != (v == nil) {
				t.Fatalf("item %d has vector %v and error %v", i, v, out.Errs)
			}
			if v != nil && len(v) != info.Dimensions {
				t.Fatalf("item %d has %d dimensions", i, len(v))
			}
		}
	})
}
