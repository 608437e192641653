import Foundation
import Testing

@testable import Management

@Suite struct MenuScreenTests {
  private let columns = TextColumns { scalar in
    // As wcwidth(3) has them: a combining accent has no column, CJK two, a control character cannot be shown.
    scalar.value == 0x301 ? 0 : scalar.value < 32 ? -1 : (0x4E00...0x9FFF).contains(scalar.value) ? 2 : 1
  }

  private func lines(_ model: MenuModel) -> [String] {
    MenuScreen(model, columns: columns).lines.map {
      $0.text.replacingOccurrences(of: " +$", with: "", options: .regularExpression)
    }
  }

  @Test func theListSaysWhatRunsAndForHowLong() {
    var model = MenuModel(menuList(["box", "web"], live: ["web"]))
    _ = model.take(.size(columns: 100, rows: 12))
    let shown = lines(model)
    #expect(shown.count == 12)
    #expect(shown[0].hasPrefix(" vmctl  host: up since") && shown[0].hasSuffix("2 CPUs, 100 of 200 MB memory free"))
    #expect(shown[1].hasPrefix("   NAME  STATE     UPTIME  OTHER HOST  CPUS  MEMORY"))
    #expect(shown[2].hasPrefix(">  box   INACTIVE  -"))
    #expect(shown[3].hasPrefix("   web   ACTIVE    1m 5s"))
    #expect(shown[10].hasPrefix(" a add  d remove  s start"))
  }

  @Test func aTerminalThatIsTooSmallIsToldAndGrowsAgain() {
    var model = MenuModel(menuList(["box"]))
    _ = model.take(.size(columns: 20, rows: 5))
    #expect(lines(model) == ["too small: 40 x 10 ~", "", "", "", ""])
    #expect(model.type(.character("s")) == [], "nothing is done that is not seen")
    _ = model.take(.size(columns: 40, rows: 10))
    #expect(lines(model)[2].contains("box"))
  }

  @Test func whatIsSaidAndIsLongHasTwoLines() {
    var model = MenuModel(menuList(["box"], live: ["box"]))
    _ = model.take(.size(columns: 60, rows: 12))
    _ = model.take(.failed(String(repeating: "words ", count: 12) + "end"))
    let shown = lines(model)
    #expect(shown[9].hasSuffix("words") && shown[10].hasSuffix("words end") && shown[11].hasPrefix(" a add"))
    model.type(.down)
    #expect(lines(model)[9] == "" && lines(model)[10].hasPrefix(" a add"))
  }

  @Test func theListSaysWhereProtectionsAre() {
    let status = ProtectionStatus(.protected, .primary, peer: String(repeating: "long", count: 20) + " port 6000")
    var model = MenuModel(menuList(["box"], live: ["box"], protections: ["box": status]))
    _ = model.take(.size(columns: 80, rows: 12))
    #expect(lines(model)[2].hasPrefix(">  box   ACTIVE  1m 5s   protected by longl"))
    #expect(lines(model)[2].contains("32 MB"), "a long name leaves room for the rest")
  }

  @Test func textsAreCutToTheirColumns() {
    #expect(columns.fit("abc", 5) == "abc  ")
    #expect(columns.fit("abcdef", 5) == "abcd~")
    #expect(columns.fit("e\u{301}e\u{301}", 2) == "e\u{301}e\u{301}")
    #expect(columns.fit("漢字漢", 5) == "漢字~")
    #expect(columns.fit("漢字漢", 4) == "漢~ ")
    #expect(columns.fit("a\u{1B}[2J", 6) == "a?[2J ")
    #expect(columns.fit("abc", 0) == "")
    #expect(columns.wrap("one two three", 8) == ["one two", "three"])
    #expect(columns.wrap("", 8) == [""])
  }

  @Test func everyLineIsAsWideAsTheTerminal() {
    var model = MenuModel(menuList(["漢字", String(repeating: "long name ", count: 9)], live: ["漢字"]))
    for width in 40...130 {
      _ = model.take(.size(columns: width, rows: 20))
      for key in [MenuKey.escape, .enter, .escape, .character("a"), .escape, .character("t")] {
        model.type(key)
        for line in MenuScreen(model, columns: columns).lines { #expect(columns.count(line.text) == width) }
      }
      model.type(.escape)
    }
  }
}
