package office

import (
	"strings"
	"testing"
)

func TestEquationField(t *testing.T) {
	for code, want := range map[string]string{
		`EQ \* jc2 \* "Font:MS Mincho" \* hps10 \o\ad(\s\up 9(とう),東)`: "東(とう)",
		`EQ \o\ac(○,1)`:    "○1",
		`eq \f(1,2)`:       "1/2",
		`EQ \f(a;\f(b;c))`: "a/b/c",
		`EQ \r(3,x)`:       "√(x)",
		`EQ \l(a,b\,c)`:    "a, b,c",
		`EQ x`:             "x",
		`EQUATION 3`:       "",
		`PAGE`:             "",
		`EQ \`:             `\`,
		`EQ \f(`:           "",
	} {
		if got := EquationField(code); got != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

func FuzzEquationField(f *testing.F) {
	f.Add(`EQ \* jc2 \o\ad(\s\up 9(a),b)`)
	f.Add(`EQ ` + strings.Repeat(`\f(`, 100))
	f.Fuzz(func(t *testing.T, code string) {
		if s := EquationField(code); len(s) > 4*len(code)+16 {
			t.Errorf("%d bytes of %d", len(s), len(code))
		}
	})
}
