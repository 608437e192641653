import Foundation
import Machine
import Testing

@testable import Management

@Suite struct TOMLDocumentTests {
  private func read(_ text: String) throws -> SettingValue { .table(try TOMLDocument(text).root.values) }

  /// Each text and what Python's tomllib makes of it, as JSON.
  static let texts: [(String, String)] = [
    ("", "{}"), ("a = 1", #"{"a": 1}"#),
    ("a.b.c = true\na.b.d = false # x\n", #"{"a": {"b": {"c": true, "d": false}}}"#),
    (
      "a = 0xFf\nb = -17\nc = 0o17\nd = 0b11\ne = 1_000\nf = +0",
      #"{"a": 255, "b": -17, "c": 15, "d": 3, "e": 1000, "f": 0}"#
    ),
    (#"a = "q\"\\\t\u00e9\U0001F600""#, #"{"a": "q\"\\\t\u00e9\ud83d\ude00"}"#),
    ("a = 'x\\y'\n\"b c\" = ''\n'd' = 'e'", #"{"a": "x\\y", "b c": "", "d": "e"}"#),
    ("a = \"\"\"\nx\n  \"y\" \\\n   z\"\"\"\"\n", #"{"a": "x\n  \"y\" z\""}"#),
    ("a = '''\n\\x''y'''''", #"{"a": "\\x''y''"}"#),
    ("a = [1, [2, # c\n 3,],\n \"x\"\n]", #"{"a": [1, [2, 3], "x"]}"#),
    ("a = { b = 1, c.d = 2, e = {} }", #"{"a": {"b": 1, "c": {"d": 2}, "e": {}}}"#),
    (
      "[a.b]\nc = 1\n[a]\nd = 2\n[[a.e]]\nf = 1\n[[a.e]]\n[a.e.g]\nh = 3\n",
      #"{"a": {"b": {"c": 1}, "d": 2, "e": [{"f": 1}, {"g": {"h": 3}}]}}"#
    ),
    ("[a]\nb.c = 1\n[a.b.d]\ne = 2\r\n", #"{"a": {"b": {"c": 1, "d": {"e": 2}}}}"#),
    ("[ \"x.y\" . z ]\n", #"{"x.y": {"z": {}}}"#),
  ]

  @Test(arguments: texts)
  func textsMeanWhatTheyMeanToOthers(_ text: String, _ json: String) throws {
    let expected = try JSONSerialization.jsonObject(with: Data(json.utf8))
    #expect(try read(text) == Self.value(expected))
  }

  private static func value(_ json: Any) -> SettingValue {
    switch json {
    case let table as [String: Any]: .table(table.mapValues(value))
    case let list as [Any]: .list(list.map(value))
    case let text as String: .text(text)
    case let number as NSNumber:
      String(cString: number.objCType) == "c" ? .flag(number.boolValue) : .number(number.intValue)
    default: .text("?")
    }
  }

  @Test(arguments: [
    "a = 1\na = 2", "[a]\n[a]", "a = 1\n[a]", "[[a]]\n[a]", "[a]\n[[a]]", "a = []\n[[a]]", "a.b = 1\na = 2",
    "[a]\nb.c = 1\n[a.b]", "[a.b]\n[a]\nb.c = 1", "a = {}\na.b = 1", "a = {}\n[a.b]", "a = { b = 1, b = 2 }",
    "a = { b = 1,\n c = 2 }", "a = 1 b = 2", "= 1", "a =", "a = [1", "a = {", "[a", "[]", "a = \"x\ny\"", "a = \"\\x\"",
    "a = 01", "a = 1__0", "a = _1", "a = 1_", "a = +0x1", "a = 1.5", "a = 1979-05-27", "a = inf", "a = \"\u{1}\"",
    "a = 9223372036854775808", "a = \"\\uD800\"", "[a]]", "a..b = 1", "a = 'x", "a = \"\"\"x", "\u{FEFF}a = 1",
  ])
  func whatIsNoTOMLIsRefused(_ text: String) {
    #expect(throws: TOMLDocument.Failure.self) { try TOMLDocument(text) }
  }

  @Test func depthIsBounded() {
    let deep = "a = " + String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000)
    #expect(throws: TOMLDocument.Failure.self) { try TOMLDocument(deep) }
  }

  @Test func everyValueHasItsLine() throws {
    let text = "a = 1\n\n[b]\nc = [\n 1,\n 2 ]\nd.e = 1\n[[f]]\n[[f]]\ng = \"\"\"\n\n\"\"\"\nh = { i = 1 }\n"
    let root = try TOMLDocument(text).root
    for (path, line) in [
      (["a"], 1), (["b"], 3), (["b", "c"], 4), (["b", "c", "1"], 6), (["b", "d", "e"], 7), (["f"], 8), (["f", "1"], 9),
      (["f", "1", "g"], 10), (["f", "1", "h", "i"], 13), (["f", "0", "none"], 8), (["zzz"], 1),
    ] {
      #expect(root.line(of: path) == line, "\(path)")
    }
  }

  @Test func writtenTextsAreReadBack() throws {
    for text in ["", "plain", "q\" \\ \n\t\r \u{7F} \u{2028} \u{1F600} é", "'''", "#"] {
      #expect(try read("a = \(TOMLText.string(text))")["a"] == .text(text))
      #expect(try read("\(TOMLText.key(text)) = 1")[text] == .number(1))
    }
  }
}
