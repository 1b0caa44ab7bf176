package fault

import "strings"

// Wait is the key of what a message waits for: its kind, and after a colon the
// name of the one thing that has to change. "budget:tenant.acme".
type Wait string

// The kinds of keys. The kind is bounded, so it may be a metric label; the name
// is not.
//
//	key                     who waits                       ends when
//	budget:global           paid work                       the limit is raised, or the window turns
//	budget:service.<name>   paid work of a service          likewise
//	budget:tenant.<name>    paid work of a tenant           likewise
//	budget:over-limit.<scope>#<n>  a call dearer than a limit  the limit is raised
//	service:<name>          work that needs the service     it answers again
//	claim:<key>             one text or document            its owner has it done, or is gone
//	job:<key>               one document                    the service's job ends
//	job:newer.<document>    an older submission             the newer one is parsed, or fails
//	slot:<service>          work that starts a job          another job ends
//	config                  work that meets a wrong setting restart, 'sluice mode', a new key
//	store:<name>            work that reads or writes it    the store answers
//	downstream:<stream>     what was made and not published the stream takes a message
//	schema:<version>        a body of a newer release       a replica of that release takes it
const (
	WaitBudget     = "budget"
	WaitService    = "service"
	WaitClaim      = "claim"
	WaitJob        = "job"
	WaitSlot       = "slot"
	WaitConfig     = "config"
	WaitStore      = "store"
	WaitDownstream = "downstream"
	WaitSchema     = "schema"

	// WaitOverLimit is of the kind budget, but narrow: other calls are cheaper.
	WaitOverLimit = WaitBudget + ":over-limit"
	// WaitTenant is the budget of one tenant.
	WaitTenant = WaitBudget + ":tenant"
)

// On returns the key of a kind and a name.
func On(kind, name string) Wait {
	if strings.Contains(kind, ":") {
		return Wait(kind + "." + name)
	}
	return Wait(kind + ":" + name)
}

// Kind returns the part before the colon.
func (w Wait) Kind() string {
	kind, _, _ := strings.Cut(string(w), ":")
	return kind
}

// Name returns the part after the colon.
func (w Wait) Name() string {
	_, name, _ := strings.Cut(string(w), ":")
	return name
}

// Within tells whether w is the key other or one below it: "budget:tenant.acme"
// is within "budget" and within "budget:tenant".
func (w Wait) Within(other Wait) bool {
	rest, ok := strings.CutPrefix(string(w), string(other))
	return ok && (rest == "" || rest[0] == ':' || rest[0] == '.' || rest[0] == '#')
}
