package words

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sameTerms(a, b string) bool {
	x := NewAnalyzer()
	return slices.Equal(x.Query(a), x.Query(b))
}

func TestTextsWithTheSameTerms(t *testing.T) {
	for _, p := range [][2]string{
		{"Refunds", "refunded refunding"},
		{"Zürich CAFÉ", "zurich cafe\u0301"},
		{"the ﬁne print", "fine prints"},
		{"don't", "Don’t"},
		{"what is the policy?", "policies"},
		{"ｆｕｌｌｗｉｄｔｈ", "fullwidth"},
		{"東京 東京", "東京"},
		{"ﾃﾞｰﾀ", "データ"},
		{"임차인", "임차인"}, // as macOS names files
		{"ΠΌΛΗΣ", "πόλης"},
		{"Łódź", "lodz"},
		{"Straße", "STRASSE"},
		{"Tromsø", "tromso"},
	} {
		if !sameTerms(p[0], p[1]) {
			t.Errorf("%q and %q differ", p[0], p[1])
		}
	}
	for _, p := range [][2]string{{"refund", "fund"}, {"東京", "京東"}, {"C", "D"}, {"हिन्दी", "हन्दी"}, {"v1", "v2"}} {
		if sameTerms(p[0], p[1]) {
			t.Errorf("%q and %q do not differ", p[0], p[1])
		}
	}
}

func TestStopwordsCountOnlyAlone(t *testing.T) {
	a := NewAnalyzer()
	if k := a.Query("who is it"); len(k) != 3 {
		t.Error("only stopwords give keys", k)
	}
	if k := a.Query("who is the author"); len(k) != 1 {
		t.Error("a telling word among stopwords gives keys", k)
	}
	if k := a.Query(" ?!'\"()* -- "); len(k) != 0 {
		t.Error("punctuation gives keys", k)
	}
}

func TestWeights(t *testing.T) {
	a := NewAnalyzer()
	refund := a.Query("refund")[0].Key
	a.Add("refund refund policy", InText)
	a.Add("Refunds", InHeading)
	terms, count := a.Take()
	if len(terms) != 2 || count != 4 {
		t.Fatal(terms, count)
	}
	for _, m := range terms {
		want := InText
		if m.Key() == refund {
			want = 2*InText + InHeading
		}
		if m.Weight() != want {
			t.Errorf("weight %d, want %d", m.Weight(), want)
		}
	}
	a.Add(strings.Repeat("often ", 1000), InText)
	if terms, count = a.Take(); len(terms) != 1 || terms[0].Weight() != 255 || count != 1000 {
		t.Error("a word a thousand times:", terms, count)
	}
}

// In a script without spaces each single rune can be asked for, while a longer
// query asks for pairs.
func TestUnspacedScripts(t *testing.T) {
	a := NewAnalyzer()
	a.Add("東京タワー", InText)
	terms, _ := a.Take()
	var keys []Key
	for _, m := range terms {
		keys = append(keys, m.Key())
	}
	for _, q := range []string{"東", "東京", "京タ", "ワー"} {
		for _, k := range a.Query(q) {
			if !slices.Contains(keys, k.Key) {
				t.Errorf("%q is not found", q)
			}
		}
	}
	if k := a.Query("東京タ"); len(k) != 2 {
		t.Error("three runes give", len(k), "keys, want 2 pairs")
	}
}

// finds reports whether a text in a language has a word of each word of a query.
func finds(text, language, query string) bool {
	a := NewAnalyzer()
	a.Use(language)
	a.Add(text, InText)
	terms, _ := a.Take()
	has := map[int]bool{}
	all := 0
	for _, k := range a.Query(query, language) {
		all = max(all, k.Word+1)
		for _, m := range terms {
			if m.Key() == k.Key {
				has[k.Word] = true
			}
		}
	}
	return all > 0 && len(has) == all
}

// Who asks writes words with other endings, other accents and other letters than the text.
func TestSpellings(t *testing.T) {
	for _, c := range []struct{ language, text, query string }{
		{"ko", "임차인은 계약의 해지를 서면으로 통보해야 합니다.", "임차인 계약 해지"},
		{"ko", "도서관에는 많은 책이 있습니다.", "책"},
		{"tr", "IŞIKLAR söndü, kiracılar çıktı.", "ışık kiracı"},
		{"tr", "IŞIKLAR söndü, kiracılar çıktı.", "isik kiraci"},
		{"ru", "Ёлки росли в лесу.", "ёлка"},
		{"ru", "Елки росли в лесу.", "ёлка"},
		{"ru", "Ёлки росли в лесу.", "елка"},
		{"es", "EDUCACION Y FORMACION", "educación"},
		{"es", "La educación de los niños", "educacion"},
		{"da", "Huse i København", "kobenhavn hus"},
		{"pl", "Łódź jest piękna", "lodz"},
		{"el", "ΤΗΣ ΠΌΛΗΣ", "πόλης"},
		{"fr", "Les œuvres de l'artiste", "oeuvre artiste"},
	} {
		if !finds(c.text, c.language, c.query) {
			t.Errorf("%s: %q does not find %q", c.language, c.query, c.text)
		}
	}
	if finds("임차인은 계약의", "ko", "인임") {
		t.Error("a pair that does not stand in the text is found")
	}
}

func TestAnalyzerHasNoMemoryOfTexts(t *testing.T) {
	old := NewAnalyzer()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`([A-Za-zéß東京']{1,9}[ .,]){0,40}`)).Draw(t, "text")
		fresh := NewAnalyzer()
		old.Add(text, InText)
		fresh.Add(text, InText)
		a, n := old.Take()
		b, m := fresh.Take()
		if !slices.Equal(a, b) || n != m {
			t.Fatal("a used analyzer finds other terms")
		}
		for i := 1; i < len(a); i++ {
			if a[i-1].Key() >= a[i].Key() {
				t.Fatal("keys do not ascend")
			}
		}
	})
}

func FuzzAnalyzer(f *testing.F) {
	f.Add("How are refunds handled? \"AND\" OR NOT NEAR(x) col:val *")
	f.Add("東京タワーは高い สวัสดี e\u0301 don’t \xff\xfe ŉ İ")
	f.Add(strings.Repeat("a", 100) + " " + strings.Repeat("é", 50))
	a := NewAnalyzer()
	f.Fuzz(func(t *testing.T, text string) {
		a.Add(text, InText)
		terms, n := a.Take()
		if len(terms) > n || n > len(text)*2 {
			t.Fatal(len(terms), "terms of", n, "words in", len(text), "bytes")
		}
		for _, k := range a.Query(text) {
			if k.Key>>keyBits != 0 {
				t.Fatal("key out of range")
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	text := strings.Repeat("The quick brown foxes are jumping over lazily sleeping dogs, and invoices were refunded. ", 23)
	a := NewAnalyzer()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		a.Add(text, InText)
		a.Take()
	}
}

func TestLight(t *testing.T) {
	for word, want := range map[string]string{
		"cities": "city", "ties": "tie", "classes": "class", "boxes": "box", "churches": "church", "dishes": "dish",
		"sizes": "siz", "size": "size", "bus": "bus", "analysis": "analysis", "glass": "glass", "cats": "cat",
		"running": "run", "falling": "fall", "passed": "pass", "buzzed": "buzz", "king": "king", "string": "string",
		"bring": "bring", "need": "need", "agreed": "agre", "bled": "bled",
		"organization": "organiz", "organizations": "organiz", "relational": "relational", "educational": "educat", "hopefulness": "hopeful",
		"effectiveness": "effectiv", "information": "informat", "definition": "definit", "payment": "payment",
		"adjustment": "adjust", "darkness": "dark", "finally": "final", "basically": "basical", "quickly": "quick",
		"security": "secur", "only": "only", "house": "hous", "love": "love", "gas": "gas", "a22ed": "a22", "22ed": "22ed",
		"ab22ed": "ab22", "überall": "überall",
	} {
		if got := string(Light([]byte(word))); got != want {
			t.Errorf("Light(%q) = %q, want %q", word, got, want)
		}
	}
}
