package lexical

import "sluice/pkg/words"

// words counts the stems of text.
func (c *counter) words(text string) {
	c.split.Split(text, func(token []byte, _ bool, _ int) {
		if !words.LightStop(token) {
			c.add("", words.Light(token), true)
		}
	}, func(run string, _ int) {
		words.Pairs(run, func(pair string) { c.add("", []byte(pair), true) })
	})
}
