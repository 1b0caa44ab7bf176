package stage_test

import (
	"context"
	"fmt"
	"strings"

	"sluice/pkg/events"
	"sluice/pkg/fault"
	"sluice/pkg/stage"
)

// A stage is one function of the message that it consumes, and a declaration of
// where messages come from and go to. Run, or Main in a binary, does the rest.
func ExampleStage() {
	upper := stage.Stage{
		Declaration: stage.Declaration{
			Name: "translator",
			In:   stage.Route{Stream: events.StreamParsed, Subject: events.SubjectParsed},
			Out:  []stage.Route{{Stream: "TRANSLATED", Subject: "docs.translated"}},
		},
		Workers: 2,
		Handle: func(_ context.Context, m *stage.Message) error {
			if len(m.Data) == 0 {
				return fault.Invalid("empty", "there is nothing to translate").WithHint("submit the document again")
			}
			m.Publish("docs.translated", events.TypeParsed, "", []byte(strings.ToUpper(string(m.Data))))
			return nil // what was published is stored before the input is acknowledged
		},
	}
	fmt.Println(upper.Name, "reads", upper.In.Subject, "of", upper.In.Stream)
	// Output: translator reads docs.parsed of PARSED
}

// What a message waits for is part of its failure. The message is handed to the
// stage's waiting room, counts no failure, and is tried again when somebody calls
// Env.Wake with the key, or when the time has come.
func ExampleEnv_Wake() {
	err := fault.New(fault.CostLimit, "budget", "the budget of acme is spent").
		WithHint("sluice budget set tenant.acme").
		WaitFor(fault.On(fault.WaitBudget, "tenant.acme"))
	fmt.Println(err.Waits())
	fmt.Println(err.Waits().Within(fault.WaitBudget)) // env.Wake(fault.WaitBudget) would do as well
	// Output:
	// budget:tenant.acme
	// true
}
