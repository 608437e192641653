import Foundation
import Testing

/// The floors below Management know no commands: they throw cases, and Management puts them into words. VMCtlKit is a user of
/// commands.
@Suite struct CommandTextTests {
  private static let commands = [
    "modifyvm", "createvm", "startvm", "controlvm", "showvminfo", "storagectl", "storageattach", "createmedium",
    "discardstate", "debugvm",
  ]

  @Test func noTextBelowManagementNamesACommandOrAnOption() {
    var found = Findings()
    for file in Repository.shared.files(under: "Sources", "swift")
    where !["vmctl", "VMCtlKit", "Management"].contains(file.target ?? "") {
      for (number, line) in file.lines.enumerated() {
        let code = line.trimmingCharacters(in: .whitespaces)
        if code.hasPrefix("//") { continue }
        // Every second piece between quotes is a text.
        for (index, text) in code.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
        where index % 2 == 1 {
          let option = text.firstRange(of: "--").map { text[$0.upperBound...].first?.isLetter == true } ?? false
          let command = Self.commands.first { text.contains($0) }
          if option || command != nil { found.add(file, number, "a text for users of the command line: \(text)") }
        }
      }
    }
    #expect(found.isEmpty, "\(found.report)")
  }
}
