package budget

import "math/big"

// Price turns what so many units cost, in dollars ("0.02"), into nano-dollars a
// unit, rounded up: an estimate must not be too low. It reports false for what
// is no price: not a number, negative, or over a million dollars.
func Price(dollars string, units int64) (nano int64, ok bool) {
	v, ok := new(big.Rat).SetString(dollars)
	if !ok || v.Sign() < 0 || v.Cmp(big.NewRat(1_000_000, 1)) > 0 {
		return 0, false
	}
	v.Mul(v, big.NewRat(1e9, units))
	q, r := new(big.Int).QuoRem(v.Num(), v.Denom(), new(big.Int))
	if r.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64(), true
}
