import Foundation
import Testing

/// The recipes in docs/recipes name files, types and settings: each of them is there.
@Suite struct RecipeTests {
  private static let recipes = Repository.shared.files(under: "docs/recipes", "md")

  /// Every identifier of the sources, tests and scripts.
  private static let words: Set<String> = {
    var words: Set<String> = []
    for file in Repository.shared.files where !file.path.hasPrefix("docs/") {
      for line in file.lines {
        for word in line.split(whereSeparator: { !($0.isLetter || $0.isNumber || $0 == "_") }) {
          words.insert(String(word))
        }
      }
    }
    return words
  }()

  @Test func thereAreRecipes() { #expect(Self.recipes.count >= 4) }

  @Test func everyPathIsThere() {
    let roots = ["Sources/", "Tests/", "scripts/", "docs/", "firmware/"]
    var found = Findings()
    for recipe in Self.recipes {
      for (number, line) in recipe.lines.enumerated() {
        let parts = line.split { " `,;:()[]|".contains($0) }.map { $0.hasSuffix(".") ? $0.dropLast() : $0 }
        for path in parts where roots.contains(where: path.hasPrefix) {
          let isFile = Repository.shared.files.contains { $0.path == path || $0.path.hasPrefix(path + "/") }
          if !isFile { found.add(recipe, number, "there is no \(path)") }
        }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }

  /// A name between backquotes that is written as code: a type, a member, a setting.
  @Test func everyNameIsThere() {
    var found = Findings()
    for recipe in Self.recipes {
      for (number, line) in recipe.lines.enumerated() {
        for (index, piece) in line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
        where index % 2 == 1 && !piece.contains(" ") && !piece.contains("/") {
          for word in piece.split(whereSeparator: { !($0.isLetter || $0.isNumber || $0 == "_") })
          where !Self.words.contains(String(word)) && word.count > 2 {
            found.add(recipe, number, "nothing is called \(word)")
          }
        }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
