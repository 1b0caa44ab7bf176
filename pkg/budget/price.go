package budget

import (
	"math/big"
	"strings"
)

// Decimal reads an amount as people write it: digits, and perhaps a point and
// more digits. What else Go takes for a number is refused: "0x10" is no $16,
// "1e3" no $1,000 and "1/3" no price.
func Decimal(text string) (*big.Rat, bool) {
	whole, part, point := strings.Cut(text, ".")
	if len(text) > 64 || whole+part == "" || point && part == "" || strings.Trim(whole+part, "0123456789") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// Price turns what so many units cost, in dollars ("0.02"), into nano-dollars a
// unit, rounded up: an estimate must not be too low. It reports false for what
// is no price: not a decimal number, or over a million dollars.
func Price(dollars string, units int64) (nano int64, ok bool) {
	v, ok := Decimal(dollars)
	if !ok || v.Cmp(big.NewRat(1_000_000, 1)) > 0 {
		return 0, false
	}
	v.Mul(v, big.NewRat(1e9, units))
	q, r := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64(), true
}
