package md

import "testing"

func TestPower(t *testing.T) {
	for in, want := range map[[2]string]string{
		{"10", "6"}:        "10^6",
		{"10", "-3"}:       "10^-3",
		{"10", "−3"}:       "10^−3",
		{"m", "2"}:         "m^2",
		{"(a+b)", "2"}:     "(a+b)^2",
		{"2", "n"}:         "2^n",
		{"2", "n+1"}:       "2^(n+1)",
		{"2", "2n"}:        "2^(2n)",
		{"10", "0.5"}:      "10^0.5",
		{"8", "1/3"}:       "8^(1/3)",
		{"e", "-kt"}:       "e^(-kt)",
		{"x", "n-1"}:       "x^(n-1)",
		{"in 2019", "1,2"}: "in 2019^1,2", // two notes: no digits of the year
		{"word", "2"}:      "word2",       // a note
		{"1", "st"}:        "1st",
		{"5", "e"}:         "5e",
		{"3", "a"}:         "3a",
		{"Ca", "2+"}:       "Ca2+",
		{"Na", "+"}:        "Na+",
		{"x", "n"}:         "xn",
		{"M", "me"}:        "Mme",
		{"12", "TM"}:       "12TM",
		{"", "6"}:          "6",
		{"the", "n-1"}:     "then-1",
		{"7", "*"}:         "7*",
	} {
		mark, end := Power(in[0], in[1])
		if got := in[0] + mark + in[1] + end; got != want {
			t.Errorf("%q with %q raised is %q, want %q", in[0], in[1], got, want)
		}
	}
}
