package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jaas is what a sasl.jaas.config says.
type jaas struct {
	module  string
	options map[string]string
}

var errJAAS = errors.New(`is not of the form that Java has: module required name="value" …; with the semicolon at the end`)

// parseJAAS reads the one form that Java's clients have: a module, a flag, options, a semicolon.
// Its errors show none of it, for it holds secrets.
func parseJAAS(text string) (*jaas, error) {
	words, err := jaasWords(text)
	if err != nil {
		return nil, err
	}
	if len(words) < 3 || words[0].quoted || words[len(words)-1] != (jaasWord{text: ";"}) {
		return nil, errJAAS
	}
	if words[1].quoted || !slices.Contains([]string{"required", "requisite", "sufficient", "optional"}, strings.ToLower(words[1].text)) {
		return nil, errJAAS
	}
	j := &jaas{module: words[0].text, options: map[string]string{}}
	options := words[2 : len(words)-1]
	for ; len(options) >= 3 && options[1] == (jaasWord{text: "="}); options = options[3:] {
		name := options[0].text
		if _, twice := j.options[name]; twice {
			return nil, errors.New("has an option twice; write it once")
		}
		j.options[name] = options[2].text
	}
	if len(options) != 0 {
		return nil, errJAAS
	}
	return j, nil
}

type jaasWord struct {
	text   string
	quoted bool
}

// jaasWords splits as Java's StreamTokenizer does, but for comments, which nobody has there.
func jaasWords(text string) (words []jaasWord, _ error) {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == '=' || c == ';':
			words = append(words, jaasWord{text: string(c)})
			i++
		case c == '"' || c == '\'':
			word, n, err := quotedWord(text[i:])
			if err != nil {
				return nil, err
			}
			words = append(words, jaasWord{word, true})
			i += n
		default:
			n := strings.IndexAny(text[i:], " \t\r\n=;\"'")
			if n < 0 {
				n = len(text) - i
			}
			words = append(words, jaasWord{text: text[i : i+n]})
			i += n
		}
	}
	return words, nil
}

// quotedWord reads a word in quotes and how long it is there.
func quotedWord(text string) (string, int, error) {
	var word strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case text[0]:
			return word.String(), i + 1, nil
		case '\n', '\r':
			return "", 0, errJAAS
		case '\\':
			if i++; i == len(text) {
				return "", 0, errJAAS
			}
			if strings.IndexByte("abfnrtv01234567", text[i]) >= 0 { // Java makes other characters of these
				return "", 0, fmt.Errorf("has a backslash before %q in quotes, which Java reads as another character; write the properties one by one", text[i])
			}
			word.WriteByte(text[i])
		default:
			word.WriteByte(c)
		}
	}
	return "", 0, errJAAS
}

// jaasModules tell which property an option of a module is.
var jaasModules = map[string]struct {
	mechanisms []string
	options    map[string]string
}{
	"org.apache.kafka.common.security.plain.PlainLoginModule": {
		[]string{"PLAIN"}, map[string]string{"username": "sasl.username", "password": "sasl.password"},
	},
	"org.apache.kafka.common.security.scram.ScramLoginModule": {
		[]string{"SCRAM-SHA-256", "SCRAM-SHA-512"}, map[string]string{"username": "sasl.username", "password": "sasl.password"},
	},
	"org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule": {
		[]string{"OAUTHBEARER"}, map[string]string{"clientId": propClientID, "clientSecret": propClientSecret, "scope": propScope},
	},
	"software.amazon.msk.auth.iam.IAMLoginModule": {[]string{"AWS_MSK_IAM"}, nil},
}

// jaasExtension starts the options that go to the broker with a token.
const jaasExtension = "extension_"

// properties are what the options say, by the names that they have here.
func (j *jaas) properties() (props, extensions map[string]string, err error) {
	module, known := jaasModules[j.module]
	if !known {
		return nil, nil, fmt.Errorf("names a login module that is not known here; the known ones are %s", strings.Join(slices.Sorted(maps.Keys(jaasModules)), ", "))
	}
	props, extensions = map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(j.options)) {
		property, known := module.options[name]
		extension, isExtension := strings.CutPrefix(name, jaasExtension)
		switch {
		case known:
			props[property] = j.options[name]
		case isExtension && slices.Contains(module.mechanisms, "OAUTHBEARER"):
			extensions[extension] = j.options[name]
		case len(module.options) == 0:
			return nil, nil, fmt.Errorf("has the option %s, which is not used here: roles and keys come from AWS_ variables; leave it out", quote(name))
		default:
			return nil, nil, fmt.Errorf("has the option %s, which is not used here; %s are", quote(name), strings.Join(slices.Sorted(maps.Keys(module.options)), ", "))
		}
	}
	return props, extensions, nil
}
