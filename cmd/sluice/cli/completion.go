package cli

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd prints a script for a shell. The script asks this binary what
// may come next, so it never falls behind the commands.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}."`
}

// Help is shown by --help.
func (CompletionCmd) Help() string {
	return examples("Prints a script that makes a shell complete commands, flags and their values.",
		"echo 'source <(sluice completion bash)' >> ~/.bashrc", "bash",
		"echo 'source <(sluice completion zsh)' >> ~/.zshrc", "zsh; after compinit",
		"sluice completion fish > ~/.config/fish/completions/sluice.fish", "fish")
}

var scripts = map[string]string{
	"bash": `# bash completion of sluice
_sluice() {
    local IFS=$'\n' line
    COMPREPLY=()
    while IFS= read -r line; do
        [ "$line" = ":files" ] && { compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")); continue; }
        COMPREPLY+=("${line%%$'\t'*}")
    done < <(sluice __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _sluice sluice
`,
	"zsh": `#compdef sluice
_sluice() {
    local line
    local -a found
    while IFS= read -r line; do
        if [[ "$line" == ":files" ]]; then _files; continue; fi
        found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done < <(sluice __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#found} )) && _describe sluice found
}
compdef _sluice sluice
`,
	"fish": `# fish completion of sluice
function __sluice_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (sluice __complete $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c sluice -f -a '(__sluice_complete)'
`,
}

// Run prints the script.
func (cmd CompletionCmd) Run(o *output) error {
	if o.json {
		return o.line(map[string]string{"shell": cmd.Shell, "script": scripts[cmd.Shell]})
	}
	o.printf("%s", scripts[cmd.Shell])
	return nil
}

// CompleteCmd answers the scripts: a line a candidate, with a tab and what it
// means. The line ":files" stands for the shell's own completion of paths.
type CompleteCmd struct {
	Words []string `arg:"" optional:""`
}

// Run answers.
func (cmd CompleteCmd) Run(o *output, k *kong.Kong) error {
	for _, c := range candidates(k.Model.Node, cmd.Words) {
		o.printf("%s\n", c)
	}
	return nil
}

// candidates returns what may follow words, of which the last is being typed.
func candidates(node *kong.Node, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	done, typed := words[:len(words)-1], words[len(words)-1]
	var pending *kong.Flag // whose value comes next
	positionals, onlyArgs := 0, false
	for _, w := range done {
		switch {
		case pending != nil && w == "=": // bash makes three words of --flag=value
		case pending != nil:
			pending = nil
		case onlyArgs:
			positionals++
		case w == "--":
			onlyArgs = true
		case strings.HasPrefix(w, "-") && w != "-":
			if f := flagOf(node, w); f != nil && !f.IsBool() && !strings.Contains(w, "=") {
				pending = f
			}
		default:
			if child := childOf(node, w); child != nil {
				node = child
			} else {
				positionals++
			}
		}
	}
	var found []string
	offer := func(word, help string) {
		if strings.HasPrefix(word, typed) {
			found = append(found, word+"\t"+strings.Join(strings.Fields(help), " "))
		}
	}
	if name, value, ok := strings.Cut(typed, "="); ok && strings.HasPrefix(typed, "--") {
		if f := flagOf(node, name); f != nil {
			for _, v := range values(f.Value) {
				if strings.HasPrefix(v, value) {
					found = append(found, name+"="+v+"\t"+f.Help)
				}
			}
		}
		return found
	}
	switch {
	case pending != nil:
		if typed == "=" {
			typed = ""
		}
		all := values(pending.Value)
		for _, v := range all {
			offer(v, pending.Help)
		}
		if len(all) == 0 && pending.Tag != nil && pending.Tag.Type == "path" {
			found = append(found, ":files")
		}
	case strings.HasPrefix(typed, "-") && !onlyArgs:
		for n := node; n != nil; n = n.Parent {
			for _, f := range n.Flags {
				if !f.Hidden {
					offer("--"+f.Name, f.Help)
				}
			}
		}
		slices.Sort(found)
	default:
		for _, c := range node.Children {
			if !c.Hidden && c.Type == kong.CommandNode {
				offer(c.Name, c.Help)
			}
		}
		if n := len(node.Positional); n > 0 {
			p := node.Positional[min(positionals, n-1)]
			switch all := values(p); {
			case len(all) > 0:
				for _, v := range all {
					offer(v, p.Help)
				}
			case p.Name == "path" || p.Name == "file":
				found = append(found, ":files")
			}
		}
	}
	return found
}

// values are what an enumeration allows.
func values(v *kong.Value) []string {
	if v == nil || v.Enum == "" {
		return nil
	}
	return v.EnumSlice()
}

func childOf(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Type == kong.CommandNode && c.Name == name {
			return c
		}
	}
	return nil
}

func flagOf(n *kong.Node, word string) *kong.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for ; n != nil; n = n.Parent {
		for _, f := range n.Flags {
			if f.Name == name || (!strings.HasPrefix(word, "--") && f.Short != 0 && string(f.Short) == name) {
				return f
			}
		}
	}
	return nil
}
