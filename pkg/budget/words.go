// Package budget keeps paid calls within the limits: a Gate admits them against
// a lease that costd has granted, and a guard wraps a paid provider so that it
// cannot be called otherwise.
//
// Money leaves the ledger before it can be spent. So no message passes between
// the decision to make a call and the call, and whatever dies or is cut off in
// between, the providers cannot bill more than the limit: what is not accounted
// for counts as spent.
//
//	stage: Gate                    costd                    KV bucket "budget"
//	admit, settle (local)
//	refill  -- Request{lease, n} -->  grant
//	                                  one atomic batch -->  ledgers of the path, lease
//	        <-- Answer{n} ---------
//	watch   <------------------------------------------     state.<scope>
package budget

import (
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"sluice/pkg/events"
	"sluice/pkg/fault"
)

// Subjects, besides the KV bucket "budget".
const (
	SubjectLease = "budget.lease" // Request -> Answer, by costd
	SubjectSet   = "budget.set"   // Change -> Limits, by costd
	// SubjectWake tells that headroom has grown. The body names the scopes, one a
	// line; without a body it is all of them.
	SubjectWake = "budget.wake"
	SubjectIdle = "budget.idle" // costd: somebody lacks what you may hold idle
	SubjectBeat = "budget.beat" // the costd that leads, every second
	// SubjectEvent + scope tells a State whose word has changed: open, warning
	// (80 % is spent), paused. Nobody has to listen.
	SubjectEvent = "budget.event."
)

// Amount is money and requests.
type Amount struct {
	Nano     int64 `json:"nano"` // nano-dollars
	Requests int64 `json:"requests"`
}

// Plus returns a+b.
func (a Amount) Plus(b Amount) Amount { return Amount{a.Nano + b.Nano, a.Requests + b.Requests} }

// Minus returns a-b.
func (a Amount) Minus(b Amount) Amount { return Amount{a.Nano - b.Nano, a.Requests - b.Requests} }

// Covers tells whether b can be taken out of a.
func (a Amount) Covers(b Amount) bool { return a.Nano >= b.Nano && a.Requests >= b.Requests }

// Least returns the smaller of each.
func (a Amount) Least(b Amount) Amount {
	return Amount{min(a.Nano, b.Nano), min(a.Requests, b.Requests)}
}

// IsZero tells whether there is neither money nor a request in a.
func (a Amount) IsZero() bool { return a == Amount{} }

// Dollars writes nano-dollars for people.
func Dollars(nano int64) string {
	sign := ""
	if nano < 0 {
		sign, nano = "-", -nano
	}
	s := fmt.Sprintf("%s$%d.%09d", sign, nano/1e9, nano%1e9)
	s = strings.TrimRight(s, "0")
	if i := strings.IndexByte(s, '.'); len(s)-i < 3 { // two digits at least
		s += strings.Repeat("0", 3-(len(s)-i))
	}
	return s
}

// Scope is a node of the tree of limits: "global", "service.openai",
// "tenant.acme", "query".
type Scope string

// Global is the root: every call is charged to it.
const Global Scope = "global"

// Query is the scope of searches: the texts that are embedded to be looked for.
// Their money is part of the global and the service's money. Their requests are
// counted here and nowhere else.
const Query Scope = "query"

// Service returns the scope of a paid service.
func Service(name string) Scope { return Scope("service." + token(name)) }

// Tenant returns the scope of a tenant.
func Tenant(name string) Scope { return Scope("tenant." + token(name)) }

var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// token makes a name fit for a KV key, reversibly for people: only what does not
// fit is encoded, and marked.
func token(name string) string {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "=" + encoding.EncodeToString([]byte(name))
		}
	}
	if name == "" {
		return "="
	}
	return name
}

// Valid tells whether s is a scope.
func (s Scope) Valid() bool {
	if s == Global || s == Query {
		return true
	}
	kind, name, ok := strings.Cut(string(s), ".")
	return ok && (kind == "service" || kind == "tenant") && name != "" && !strings.ContainsAny(name, ".*> \t\r\n") && len(s) < 256
}

// Name returns the service of a service's scope, and the tenant of a tenant's as
// it stands in keys.
func (s Scope) Name() string {
	_, name, _ := strings.Cut(string(s), ".")
	return name
}

// Typed returns the scope as a person types it: what ParseScope reads.
func (s Scope) Typed() string {
	kind, name, _ := strings.Cut(string(s), ".")
	if coded, ok := strings.CutPrefix(name, "="); ok {
		if plain, err := encoding.DecodeString(coded); err == nil {
			return kind + "." + string(plain)
		}
	}
	return string(s)
}

// IsService tells whether s is the scope of a service.
func (s Scope) IsService() bool { return strings.HasPrefix(string(s), "service.") }

// IsTenant tells whether s is the scope of a tenant. There may be any number of
// them.
func (s Scope) IsTenant() bool { return strings.HasPrefix(string(s), "tenant.") }

// ParseScope reads what a person types: "global", "query", "service.openai",
// "tenant.acme".
func ParseScope(s string) (Scope, error) {
	kind, name, ok := strings.Cut(s, ".")
	switch {
	case s == string(Global):
		return Global, nil
	case s == string(Query):
		return Query, nil
	case ok && name != "" && kind == "service":
		return Service(name), nil
	case ok && kind == "tenant" && name != "" && !events.ValidTenant(name):
		return "", fault.Invalid("scope", "no tenant can be called %q", events.CleanHeader(name, 128)).WithHint("use at most 64 letters, digits, '-', '_' and '.'")
	case ok && name != "" && kind == "tenant":
		return Tenant(name), nil
	}
	return "", fault.Invalid("scope", "%q is not a scope", events.CleanHeader(s, 64)).WithHint("use global, query, service.NAME or tenant.NAME")
}

// Path returns the scopes that a call for a tenant is charged to.
func Path(service, tenant string) []Scope { return []Scope{Global, Service(service), Tenant(tenant)} }

// QueryPath returns the scopes that the embedding of a query is charged to. The
// first two get its money, the last its money and its request.
func QueryPath(service string) []Scope { return []Scope{Global, Service(service), Query} }

// Window is an hour or a day of UTC.
type Window struct {
	Day   bool
	Start time.Time
}

// Windows returns the windows that t is in: the hour and the day.
func Windows(t time.Time) [2]Window {
	t = t.UTC()
	return [2]Window{
		{false, t.Truncate(time.Hour)},
		{true, time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)},
	}
}

// Key returns "h2026112413" or "d20261124".
func (w Window) Key() string {
	if w.Day {
		return "d" + w.Start.Format("20060102")
	}
	return "h" + w.Start.Format("2006010215")
}

// End returns the first moment after the window.
func (w Window) End() time.Time {
	if w.Day {
		return w.Start.AddDate(0, 0, 1)
	}
	return w.Start.Add(time.Hour)
}

// Name returns "hour" or "day".
func (w Window) Name() string {
	if w.Day {
		return "day"
	}
	return "hour"
}

// LedgerKey is the KV key of a scope's ledger of a window.
func LedgerKey(s Scope, w Window) string { return "ledger." + string(s) + "." + w.Key() }

// LimitsKey is the KV key of a scope's limits.
func LimitsKey(s Scope) string { return "limits." + string(s) }

// StateKey is the KV key of what is shown of a scope.
func StateKey(s Scope) string { return "state." + string(s) }

// Limits are the limits of a scope. Nil is no limit of its own.
type Limits struct {
	HourNano     *int64 `json:"hour_nano,omitempty"`
	DayNano      *int64 `json:"day_nano,omitempty"`
	HourRequests *int64 `json:"hour_requests,omitempty"`
	DayRequests  *int64 `json:"day_requests,omitempty"`
	Frozen       bool   `json:"frozen,omitempty"`
	Epoch        uint64 `json:"epoch"` // counts the changes
}

// Defaults returns the limits of Global while nobody has set others: 5 dollars
// a day and 100 requests an hour.
func Defaults() Limits {
	day, hour := int64(5e9), int64(100)
	return Limits{DayNano: &day, HourRequests: &hour}
}

// QueryDefaults returns the limits of Query while nobody has set others. An hour
// has 1,000 requests. Without a limit of money of its own, see Share.
func QueryDefaults() Limits {
	hour := int64(1000)
	return Limits{HourRequests: &hour}
}

// Share returns what queries may spend at most of a global limit while they have
// none of their own: a tenth, so that searches cannot starve ingestion.
func Share(global int64) int64 { return global / 10 }

// Kept returns the part of a global limit that ingestion leaves to queries: a
// hundredth, or their own limit if that is less, so that ingestion cannot starve
// searches. A query costs a few hundred nano-dollars.
func Kept(global, query int64) int64 { return min(global/100, query) }

// In returns the limits of a window, nil for none.
func (l Limits) In(w Window) (nano, requests *int64) {
	if w.Day {
		return l.DayNano, l.DayRequests
	}
	return l.HourNano, l.HourRequests
}

// Change is a wish for other limits. Absent fields stay as they are; -1 takes a
// limit away.
type Change struct {
	Scope        Scope  `json:"scope"`
	HourNano     *int64 `json:"hour_nano,omitempty"`
	DayNano      *int64 `json:"day_nano,omitempty"`
	HourRequests *int64 `json:"hour_requests,omitempty"`
	DayRequests  *int64 `json:"day_requests,omitempty"`
	Frozen       *bool  `json:"frozen,omitempty"`
	// Ledger asks for no other limits, but about ledgers that have forgotten
	// something: LedgerShow, LedgerAccept. The answer is a Doubt.
	Ledger string `json:"ledger,omitempty"`
	// Mark is the Doubt.Mark that a person has seen, with LedgerAccept.
	Mark uint64 `json:"mark,omitempty"`
}

// What Change.Ledger asks for.
const (
	LedgerShow   = "show"
	LedgerAccept = "accept"
)

// Doubt is what is known of ledgers that have forgotten something. While there
// is a doubt, costd grants nothing.
type Doubt struct {
	Reason string `json:"reason"` // empty = there is none
	Hint   string `json:"hint,omitempty"`
	// Commit is the number of the newest commit in the ledgers. Mark is the
	// highest one that anybody has heard of.
	Commit uint64        `json:"commit"`
	Mark   uint64        `json:"mark"`
	Rows   []DoubtWindow `json:"windows,omitempty"` // of Global
	// Events is how many usage events of the day were read.
	Events int `json:"events"`
	// Until is when the last lease of the lost ledgers ends. Nothing can be
	// accepted before: a stage may still spend what nobody knows of.
	Until time.Time `json:"until,omitzero"`
	Error string    `json:"error,omitempty"` // why it was not accepted
	// Accepted tells that the doubt has ended by this request.
	Accepted bool `json:"accepted,omitempty"`
}

// DoubtWindow compares the two records of one window, in nano-dollars.
type DoubtWindow struct {
	Window string `json:"window"` // "hour", "day"
	Ledger int64  `json:"ledger"` // settled and out on leases
	Costs  int64  `json:"costs"`  // what the usage events say was spent
	Limit  *int64 `json:"limit,omitempty"`
}

// Lost returns what the ledger does not know of.
func (w DoubtWindow) Lost() int64 { return max(0, w.Costs-w.Ledger) }

// Request asks costd to settle, take back and grant. It is sent again, with
// nothing but Sent changed, until it is answered: a repeat changes nothing.
type Request struct {
	Lease   string    `json:"lease"` // of one process, path and hour; or of one job
	N       uint64    `json:"n"`     // from 1
	Service string    `json:"service"`
	Tenant  string    `json:"tenant"`
	Query   bool      `json:"query,omitempty"` // for searches: charged to the scope Query instead of the tenant's
	Time    time.Time `json:"time"`            // decides the windows when n is 1
	Sent    time.Time `json:"sent,omitzero"`   // by the stage's clock, of this repeat: proves the clock
	Used    Amount    `json:"used"`            // spent since n-1
	Keep    Amount    `json:"keep"`            // of what is out: calls under way and balance; the rest is given back
	Held    *Amount   `json:"held,omitempty"`  // of Keep: calls under way
	Need    Amount    `json:"need"`            // what calls wait for
	Call    Amount    `json:"call"`            // the dearest of them
	Least   Amount    `json:"least"`           // what the cheapest of them still lacks: less than that is of no use
	Want    Amount    `json:"want"`            // what would be used soon, beyond Need
	Close   bool      `json:"close,omitempty"`
	Seconds int       `json:"seconds,omitempty"` // the longest call; 0 = the default
	Seen    uint64    `json:"seen,omitempty"`    // the latest Answer.Commit seen by this process
}

// Answer is what costd did.
type Answer struct {
	Lease   string        `json:"lease"`
	N       uint64        `json:"n"`
	Granted Amount        `json:"granted"`
	Keep    Amount        `json:"keep"`              // what is out besides, as requested
	TTL     time.Duration `json:"ttl"`               // nothing is admitted this long after sending
	Commit  uint64        `json:"commit"`            // sequence of the commit in the bucket's stream
	Gone    bool          `json:"gone,omitempty"`    // the lease is closed or was reclaimed: forget it
	Refusal *Refusal      `json:"refusal,omitempty"` // why Need was not granted
	Error   string        `json:"error,omitempty"`   // costd cannot grant at all
}

// Refusal says which limit stands in the way.
type Refusal struct {
	Scope  Scope     `json:"scope"`
	Window string    `json:"window"` // "hour", "day", or "" if frozen
	Limit  int64     `json:"limit"`  // nano-dollars, or requests
	What   string    `json:"what"`   // "money", "requests", "frozen"
	Resets time.Time `json:"resets"`
	Never  bool      `json:"never,omitempty"` // the need is more than the whole limit
	Needs  int64     `json:"needs,omitempty"` // what the limit would have to be, if Never
	Kept   int64     `json:"kept,omitempty"`  // nano-dollars of the limit that are for searches; Limit is without them
}

// State is what is shown of a scope. KV key state.<scope>.
type State struct {
	Scope   Scope         `json:"scope"`
	State   string        `json:"state"` // "open", "warning" from 80 %, "paused"
	Reason  string        `json:"reason,omitempty"`
	Windows []WindowState `json:"windows"`
	Frozen  bool          `json:"frozen,omitempty"`
	// Waiting, of a service: calls wait that are dearer than what is left of the
	// service's limits or the global ones. What is left may be more than nothing.
	Waiting bool      `json:"waiting,omitempty"`
	Time    time.Time `json:"time"`
}

// WindowState is one row of it.
type WindowState struct {
	Window        string    `json:"window"` // "hour", "day"
	Start         time.Time `json:"start"`
	Resets        time.Time `json:"resets"`
	LimitNano     *int64    `json:"limit_nano,omitempty"`
	LimitRequests *int64    `json:"limit_requests,omitempty"`
	Spent         Amount    `json:"spent"`
	Reserved      Amount    `json:"reserved"`
	Kept          int64     `json:"kept,omitempty"` // nano-dollars of what is left that only searches may spend
}
