package words

import (
	"sync"
)

// stopwords are English words that say nothing about what a text is about.
const stopwords = `
a an the this that these those such same other another each every either neither both all any some no none few many much more most
i me my mine myself we us our ours you your yours he him his she her hers it its itself they them their theirs
who whom whose which what where when why how whether
am is are was were be been being do does did done doing have has had having can could may might must shall should will would
and or but nor so yet if then than else because since while though although unless until
of at by for with about against between into through during before after above below to from up down in out on off over under
again once here there now just only also too very not own as per via
dont doesnt didnt isnt arent wasnt werent wont cant im ive youre hes shes theyre thats whats`

var stopKeys = sync.OnceValue(func() map[Key]struct{} {
	keys := make(map[Key]struct{})
	a := NewAnalyzer()
	a.Add(stopwords, InText)
	terms, _ := a.Take()
	for _, t := range terms {
		keys[t.Key()] = struct{}{}
	}
	return keys
})
