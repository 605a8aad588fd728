// Prints what Masterminds/semver says of ranges, versions and tags, as JSON: the fixture of the tests in
// shared/src/version. Run it as
//
//	go run . > ../../../shared/src/version/tests/golden.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// What is asked for. The first groups are what people write, the last ones are the corners of the grammar.
var ranges = []string{
	"1.2.3", "=1.2.3", "= 1.2.3", "v1.2.3", "=v1.2.3", "1.2", "1", "0", "0.0", "0.0.0", "2.0.0-rc.1", "1.2.3+build.5",
	"!=1.2.3", "!=1.2", "!=1", "!=1.2.x", "!=1.x", "!=x", "!=0.0.0", "!=2.0.0-rc.1", "!=1.2.x-beta",
	">1.2.3", ">1.2", ">1", ">1.2.x", ">1.x", ">x", ">*", ">0", ">2.0.0-rc.1", "> 1.2.3", ">1.2-0",
	">=1.2.3", ">=1.2", ">=1", ">=1.x", ">=x", ">=0", ">=0.0.0-0", ">=2.0.0-rc.1", "=>1.2.3", ">=1.2.3-0", ">= v1.2",
	"<1.2.3", "<1.2", "<1", "<1.2.x", "<x", "<0.0.1", "<2.0.0-rc.2", "<2", "<2.0.0-0",
	"<=1.2.3", "<=1.2", "<=1", "<=1.2.x", "<=x", "<=*", "=<1.2.3", "<=0", "<=0.0", "<=2.0.0-rc.1", "<=1-0",
	"~1.2.3", "~1.2", "~1", "~0", "~0.0", "~0.0.0", "~0.0.3", "~1.x", "~1.2.x", "~x", "~*", "~>1.2.3", "~> 1.2", "~2.0.0-rc.1",
	"~1.2.3-beta.2", "~0-0", "~v1.2",
	"^1.2.3", "^1.2", "^1", "^0.2.3", "^0.2", "^0.0.3", "^0.0.0", "^0.0", "^0", "^1.x", "^1.2.x", "^x", "^*", "^0.x", "^0.0.x",
	"^2.0.0-rc.1", "^1.2.3-beta.2", "^1-0", "^ 1.2.3", "^v1", "^0.0.3-0",
	"*", "x", "X", "x.x", "x.x.x", "*.*.*", "1.*", "1.x", "1.X.x", "1.2.*", "1.x.3", "x.2.3", "*-0", "1.x-0", "1.2.x-rc.1",
	"1.x.x+meta", "X.y", "x.1x.2",
	">=1.2 <2", ">=1.2, <2", ">=1.2,<2", ">=1.2 , <2", ">1 <3 !=2.0.0", ">=1.2.3 <1.3.0 || >=2", "1.2.3 || 1.2.4",
	"1.2.3||1.2.4", "^1 || ^2", "~1.2 || ~1.10", "<1 || >2", "1 2", "1.2 1.2.3", ">=1 1.2.3", ">=1.0.0-0 <2.0.0-0",
	">=1.0.0 <2.0.0-0", "^1.0.0-0 || 2.0.0", "* !=1.2.3", ">=1, <2, !=1.2.3 || 2.0.0-rc.1 || 0.0.x",
	"1.2 - 1.3", "1.2.3 - 2.3.4", "1 - 2", "0 - 1", "1.2 - 2 || 10", "1.2 - 1.3 || 2 - 3", "1.2 - 1.3, !=1.2.4", "1.2 - 1.3 !=1.2.4",
	">=1.2.4, 1 - 2", "v1.2 - v1.3", "1.x - 1.2.x", "1.2.3-beta.1 - 1.2.3", "1.2-1.3", "1.2  -  1.3", " 1.2 - 1.3 ", "1 - 2 1.2 - 2.0",
	"1 - 2, 1.2 - 2.0", "1.2 - 1.3||2",
	" 1.2.3", "1.2.3 ", "\t>=1.2\t<2 ", ">=\t1.2", ">=01.2", "1.02.3", "1.2.03", ">=1.2.3-01a", "1.2.3-beta.1+x.01",
	"18446744073709551615.0.0", "<18446744073709551615",
	// What is no range.
	"", " ", "||", "1 ||", "|| 1", "1 || || 2", ",", "1,", ",1", "1,,2", ">", ">=", "!", "!1", "==1", "<>1", "><1", "> =1", ">1<2",
	"=1=2", "^~1", "~^1", "~~1", "^^1", "a", "latest", "vv1", "v", "V1", "1.", ".1", "1..2", "1.2.", "1.2.3.", "1.2.3.4", "1.2.a",
	"1.2.3-", "1.2.3+", "1.2.3-+x", "1.2.3-a..b", "1.2.3-a_b", "1.2.3+a..b", "1.2.3-01", ">=1.2.3-00", "1x", "x1", "xx", "1.2x", "1.*2",
	"1 -2", "1- 2", "1 - ", " - 1", "1 - 2 - 3", ">1 - 2", "^1 - 2", "~1 - 2", "=1 - 2", "1 - >2", "1 - ^2", "0 1 - 2", ">0 1 - 2",
	"1 and 2", "1 & 2", "1 | 2", "1|2", "1 ||| 2", "(1)", "[1,2)", "1;2", ">=1.2 <2 foo", "1.2.3 beta", "18446744073709551616",
	"refs/tags/1.2.3", ">=1.2\n<", "1.2.3−beta", "１.2", "> 1 , , < 2", "11.0 - 12||1 - 2",
	strings.Repeat("1 || ", 31) + "1", strings.Repeat("1 || ", 32) + "1", strings.Repeat("1 ", 255) + "12", strings.Repeat("1 ", 256) + "1",
}

var versions = []string{
	"0.0.0", "0.0.1", "0.0.3", "0.0.3-alpha", "0.0.4", "0.1.0", "0.2.0", "0.2.3", "0.2.4", "0.3.0",
	"1.0.0-0", "1.0.0-alpha", "1.0.0", "1.0.1", "1.1.0", "1.2.0-rc.1", "1.2.0", "1.2.2",
	"1.2.3-alpha", "1.2.3-beta.1", "1.2.3-beta.2", "1.2.3-beta.11", "1.2.3-rc", "1.2.3", "1.2.3+build.5",
	"1.2.4-0", "1.2.4", "1.2.10", "1.3.0-rc.1", "1.3.0", "1.3.1", "1.10.0", "1.99.99",
	"2.0.0-0", "2.0.0-rc.1", "2.0.0-rc.2", "2.0.0", "2.0.1", "2.3.4", "2.3.5", "3.0.0-beta", "3.0.0", "3.1.0",
	"10.0.0", "11.2.3", "18446744073709551615.0.0",
}

// Names of tags, of which only exact versions count; a leading v does not matter.
var tags = []string{
	"1.2.3", "v1.2.3", "V1.2.3", "vv1.2.3", "1.2", "v1", "1.2.3.4", "1.2.3-rc.1", "v1.2.3-rc.1+build.7", "1.2.3+", "1.2.3-", "1.2.3-01",
	"1.2.3-0a", "1.2.3+01", "01.2.3", "1.02.3", "1.2.03", "1.2.3-a..b", "1.2.3-a_b", "release-1.2.3", "charts/1.2.3", "", "v", "latest",
	"1..3", "1.2.", ".2.3", "1.2.x", "1.-2.3", "1.2.3+a+b", "1.2.3+a-b", "1.2.3-a+b-c", "1+a.2.3", "1-a.2.3", "1.2.3 ", " 1.2.3",
	"18446744073709551615.0.0", "18446744073709551616.0.0", "1.2.3-99999999999999999999", "1.2.3--", "1.2.3-é",
	strings.Repeat("1", 19) + ".2.3-" + strings.Repeat("a", 232), strings.Repeat("1", 19) + ".2.3-" + strings.Repeat("a", 233),
}

// Prereleases of one version, in any order: how they rank is written down as the library sorts them.
var ranked = []string{
	"1.0.0", "1.0.0-rc.1", "1.0.0-beta.11", "1.0.0-beta.2", "1.0.0-beta", "1.0.0-alpha.beta", "1.0.0-alpha.1", "1.0.0-alpha", "1.0.0-0",
	"1.0.0-9", "1.0.0-10", "1.0.0--1", "1.0.0-A", "1.0.0-a", "1.0.0-a-b", "1.0.0-a.b.c", "1.0.0-18446744073709551615", "0.9.9", "1.0.1-0",
	"1.0.0-99999999999999999999",
}

type rangeCase struct {
	Range  string   `json:"range"`
	Error  string   `json:"error,omitempty"`
	Admits []string `json:"admits,omitempty"`
}

type tagCase struct {
	Tag       string `json:"tag"`
	IsVersion bool   `json:"isVersion"`
}

func main() {
	fmt.Printf("{\"versions\": %s,\n\"ranges\": [\n", text(versions))
	for index, one := range ranges {
		fmt.Printf("%s%s\n", text(ask(one)), comma(index, len(ranges)))
	}
	fmt.Println("],\n\"tags\": [")
	for index, tag := range tags {
		_, err := parse(tag)
		fmt.Printf("%s%s\n", text(tagCase{Tag: tag, IsVersion: err == nil}), comma(index, len(tags)))
	}
	sort.Slice(ranked, func(i, j int) bool {
		return semver.MustParse(ranked[i]).LessThan(semver.MustParse(ranked[j]))
	})
	fmt.Printf("],\n\"ranked\": %s}\n", text(ranked))
}

func ask(text string) rangeCase {
	constraints, err := semver.NewConstraint(text)
	if err != nil {
		return rangeCase{Range: text, Error: err.Error()}
	}
	answer := rangeCase{Range: text, Admits: []string{}}
	for _, one := range versions {
		version, err := parse(one)
		if err != nil {
			panic(err)
		}
		if constraints.Check(version) {
			answer.Admits = append(answer.Admits, one)
		}
	}
	return answer
}

// Tags are read as exact versions, with a leading v or without.
func parse(tag string) (*semver.Version, error) {
	return semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
}

func text(value any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func comma(index, length int) string {
	if index == length-1 {
		return ""
	}
	return ","
}
