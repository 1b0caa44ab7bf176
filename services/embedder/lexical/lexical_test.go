package lexical

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sluice/pkg/fault"
	"sluice/pkg/provider"
	"sluice/pkg/words"
	"sluice/services/embedder/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ provider.Embedder = (*Embedder)(nil)

func newEmbedder(t testing.TB) *Embedder {
	t.Helper()
	e, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *Embedder) of(text string) []float32 {
	v := make([]float32, Dimensions)
	e.Into(v, text)
	return v
}

func (e *Embedder) similarity(a, b string) (s float64) {
	v, w := e.of(a), e.of(b)
	for i := range v {
		s += float64(v[i]) * float64(w[i])
	}
	return s
}

// The expected places and values come from another implementation, written in
// Python from the description of the algorithm with arbitrary-precision
// integers. Over 305 texts of 2 KB it agreed with this one in every bit.
func TestGolden(t *testing.T) {
	e := newEmbedder(t)
	for text, want := range map[string]map[int]float32{
		"refund": {299: 0.5, 584: 0.5, 1117: 0.5, 1310: 0.5},
		"Refunded invoices": {
			78: -0.3535533845424652, 299: 0.3535533845424652, 334: 0.3535533845424652, 584: 0.3535533845424652,
			791: -0.3535533845424652, 1117: 0.3535533845424652, 1310: 0.3535533845424652, 1388: 0.3535533845424652,
		},
		"東京タワー": {
			26: 0.25, 34: 0.25, 187: 0.25, 196: -0.25, 203: -0.25, 242: 0.25, 430: 0.25, 453: -0.25, 548: -0.25,
			624: 0.25, 697: -0.25, 830: 0.25, 1193: 0.25, 1293: 0.25, 1297: -0.25, 1518: 0.25,
		},
	} {
		for i, got := range e.of(text) {
			if got != want[i] {
				t.Errorf("%q: component %d is %v, want %v", text, i, got, want[i])
			}
		}
	}
}

func TestWords(t *testing.T) {
	e := newEmbedder(t)
	for text, want := range map[string][]string{
		"The CATS' whiskers":        {"cat", "whisker"},
		"don't won’t rock'n'roll":   {"rocknroll"},
		"x' 'y 5's a'1":             {"x", "y", "5s", "1"},
		"foo_bar-baz.qux/2026":      {"foo", "bar", "baz", "qux", "2026"},
		"ÜBER École e\u0301t\u0301": {"über", "école", "e\u0301t\u0301"},
		"\u0301abc":                 {"abc"},
		"東":                         {"東"},
		"v2東京3":                     {"v2", "東京", "3"},
		"スーパー":                      {"スー", "ーパ", "パー"},
		"ไทย":                       {"ไท", "ทย"},
		"\xff\xfeabc\xc3":           {"abc"},
		"² Ⅷ ½ 🙂":                   {},
	} {
		var got []string
		c := newCounter(e.tables)
		c.words(text)
		known := make(map[uint64]string, len(want))
		for _, w := range want {
			known[fnv1a(fnvOffset, w)] = w
		}
		for _, f := range c.features {
			w, ok := known[f.hash]
			if !ok {
				w = "something else"
			}
			got = append(got, w)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q has the stems %q, want %q", text, got, want)
		}
	}
}

func TestFormsOfWordsAreTheSame(t *testing.T) {
	e := newEmbedder(t)
	for _, p := range [][2]string{
		{"Refunds for cancelled orders", "refunding the cancelled order"},
		{"What is the INVOICE policy?", "invoices; policies"},
		{"boxes", "box"},
	} {
		if s := e.similarity(p[0], p[1]); s < 0.999 {
			t.Errorf("%q and %q have similarity %.3f, want 1", p[0], p[1], s)
		}
	}
}

// What this model cannot do is part of what is promised about it.
func TestOtherWordsForTheSameThingAreStrangers(t *testing.T) {
	e := newEmbedder(t)
	if s := e.similarity("car insurance price", "automobile coverage cost"); math.Abs(s) > 0.2 {
		t.Errorf("similarity %.3f, want about 0", s)
	}
}

func TestRankingFollowsSharedWords(t *testing.T) {
	e := newEmbedder(t)
	query := "how do refunds work"
	near := e.similarity(query, "Our refund policy: refunds are paid within 14 days.")
	far := e.similarity(query, "The cache is warmed when the server starts.")
	if near < 0.3 || far > 0.15 {
		t.Errorf("near %.3f, far %.3f", near, far)
	}
	// A rare word says more than a common one.
	rare := e.similarity("use idempotency", "idempotency")
	common := e.similarity("use idempotency", "use")
	if rare <= common {
		t.Errorf("rare word %.3f, common word %.3f", rare, common)
	}
}

func TestTextsWithoutStems(t *testing.T) {
	e := newEmbedder(t)
	texts := []string{"", " ", "!", "!!!", "---\n\n---", "🙂", "🙂🙃", "to be or not to be", "who am I", "\xff\xff\xff\xff\xff"}
	for i, a := range texts {
		if s := e.similarity(a, a); math.Abs(s-1) > 1e-5 {
			t.Errorf("%q has length² %v", a, s)
		}
		for _, stems := range []string{"refund policy", "東京タワー", strings.Repeat("all kinds of words in a longer chunk ", 9)} {
			if s := e.similarity(a, stems); math.Abs(s) > 0.2 {
				t.Errorf("%q and %q have similarity %.3f", a, stems, s)
			}
		}
		for _, b := range texts[i+1:] {
			s := e.similarity(a, b)
			if blank := a == "" && b == " "; blank != (s > 0.999) {
				t.Errorf("%q and %q have similarity %.3f", a, b, s)
			}
		}
	}
	if s := e.similarity("To be, or not to be", "to be or NOT to be?"); s < 0.5 {
		t.Errorf("the same stopwords have similarity %.3f", s)
	}
}

func TestOrderDoesNotCount(t *testing.T) {
	e := newEmbedder(t)
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,12}`), 1, 60).Draw(t, "words")
		mixed := rapid.Permutation(words).Draw(t, "mixed")
		if s := e.similarity(strings.Join(words, " "), strings.Join(mixed, "\n")); s < 1-1e-5 && hasStem(words) {
			t.Fatalf("similarity %v", s)
		}
	})
}

func hasStem(texts []string) bool {
	return slices.ContainsFunc(texts, func(w string) bool { return !words.LightStop([]byte(w)) })
}

func TestUnitLengthAndNoStateBetweenTexts(t *testing.T) {
	shared := newEmbedder(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`([A-Za-z']{1,9}[ .,]){0,40}`)).Draw(t, "text")
		v := shared.of(text)
		fresh := &Embedder{tables: shared.tables}
		fresh.scratch.New = func() any { return newCounter(shared.tables) }
		if !slices.Equal(v, fresh.of(text)) {
			t.Fatal("an embedder that has seen other texts gives another vector")
		}
		var sum float64
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		if math.Abs(sum-1) > 1e-4 {
			t.Fatalf("length² %v", sum)
		}
	})
}

// A text with more distinct words than the counter starts with, and large
// enough that the pool must not keep what it grew to.
func TestHugeTexts(t *testing.T) {
	e := newEmbedder(t)
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range 100_000 {
		for range 6 {
			b.WriteByte(byte('a' + r.IntN(26)))
		}
		b.WriteByte(' ')
	}
	text := b.String()
	if s := e.similarity(text, text); math.Abs(s-1) > 1e-4 {
		t.Error("length²", s)
	}
	c := newCounter(e.tables)
	c.words(text)
	if len(c.features) < 90_000 {
		t.Error("features", len(c.features))
	}
	c.words(strings.Repeat("a", 1<<20))
	c.reset()
	if len(c.slots) > largestKept {
		t.Error("the pool would keep", len(c.slots), "slots")
	}
}

func TestEmbed(t *testing.T) {
	e := newEmbedder(t)
	in := []provider.Input{{Text: "one refund", Tokens: 2}, {Text: "", Tokens: 0}, {Text: "three", Tokens: 1}}
	out, err := e.Embed(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if out, err = check.Vectors(e.Describe(), len(in), out); err != nil || out.Errs != nil {
		t.Fatal(err, out.Errs)
	}
	if out.Tokens != 3 || out.Nano != 0 {
		t.Error("tokens", out.Tokens, "nano", out.Nano)
	}
	for i := range in {
		if !slices.Equal(out.Vectors[i], e.of(in[i].Text)) {
			t.Errorf("vector %d depends on its batch", i)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Embed(ctx, in); !errors.Is(err, context.Canceled) || fault.Of(err) != fault.Unavailable {
		t.Error("a cancelled call returned", err)
	}
}

func TestTables(t *testing.T) {
	e := newEmbedder(t)
	if n := len(e.tables.weight); n != 5653 {
		t.Error("stems with an IDF:", n)
	}
	if !strings.Contains(License, "WordNet") {
		t.Error("the licence is not in the binary")
	}
	for _, damaged := range []string{"refund", "refund\tx", "refund\t-3", "\t900", "refund 900"} {
		if _, err := parseTables(damaged); err == nil {
			t.Errorf("table %q was accepted", damaged)
		}
	}
}

func FuzzInto(f *testing.F) {
	f.Add("How are refunds handled?")
	f.Add("東京タワーは高い สวัสดี e\u0301 don’t")
	f.Add("\xff!'’")
	e := newEmbedder(f)
	f.Fuzz(func(t *testing.T, text string) {
		v := e.of(text)
		var sum float64
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		if math.Abs(sum-1) > 1e-3 {
			t.Fatalf("length² %v (valid UTF-8: %v)", sum, utf8.ValidString(text))
		}
		if !slices.Equal(v, e.of(strings.Clone(text))) {
			t.Fatal("not deterministic")
		}
	})
}

// prose returns about n bytes of words whose frequencies fall off as in a
// language.
func prose(e *Embedder, n int) string {
	stems := make([]string, 0, len(e.tables.weight))
	for w := range e.tables.weight {
		stems = append(stems, w)
	}
	slices.SortFunc(stems, func(a, b string) int {
		if c := int(1000 * (e.tables.weight[a] - e.tables.weight[b])); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	stops := strings.Fields("the of and to in a is that for it as was with be by on not he i this are or his from at which but have an had they you were")
	r := rand.New(rand.NewPCG(7, 7))
	zipf := rand.NewZipf(r, 1.1, 20, uint64(len(stems)-1))
	var b strings.Builder
	for b.Len() < n {
		if r.IntN(5) < 2 {
			b.WriteString(stops[r.IntN(len(stops))])
		} else {
			b.WriteString(stems[zipf.Uint64()])
		}
		b.WriteByte(' ')
	}
	return b.String()
}

func BenchmarkInto(b *testing.B) {
	e := newEmbedder(b)
	text := prose(e, 2000)
	v := make([]float32, Dimensions)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		e.Into(v, text)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
}
