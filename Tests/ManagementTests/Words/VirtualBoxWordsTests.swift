import Foundation
import Testing

@testable import Management

/// What fingers that know VBoxManage type.
@Suite struct VirtualBoxWordsTests {
  static let known = ["createvm", "modifyvm", "startvm", "controlvm", "createmedium", "showvminfo", "list", "help"]

  @Test(arguments: [
    ("createhd", "createhd: now `createmedium disk`"),
    ("bandwidthctl", "bandwidthctl is not built yet: limits of disks and network cards"),
    ("guestproperty", "guestproperty is not here: there are no guest additions"),
    ("startmv", "there is no command \"startmv\"; the nearest is \"startvm\""),
    ("Startvm", "there is no command \"Startvm\"; the nearest is \"startvm\""),
    (
      "clonemediun",
      "there is no command \"clonemediun\"; the nearest is clonemedium is not built yet: "
        + "copy the image with cp while its machine is off"
    ),
    ("xyzzy", "there is no command \"xyzzy\""),
  ])
  func anUnknownCommandIsNamedWithWhatHasBecomeOfIt(word: String, message: String) {
    #expect(VirtualBoxWords.unknownCommand(word, known: Self.known) == message)
  }

  @Test func optionsWithNumbersAreOneRow() {
    #expect(
      VirtualBoxWords.unknownOption("--hostonlyadapter3", of: "modifyvm")
        == "--hostonlyadapter3 is not built yet: network cards")
    #expect(
      VirtualBoxWords.unknownOption("--hostonlyadapter1=x", of: "modifyvm")
        == "--hostonlyadapter1 is not built yet: network cards")
    #expect(VirtualBoxWords.unknownOption("--nested-paging", of: "modifyvm")?.contains("is not here") == true)
    #expect(VirtualBoxWords.unknownOption("--nonsense", of: "modifyvm") == nil)
  }

  @Test func noWordHasTwoFates() {
    for (index, entry) in VirtualBoxWords.all.enumerated() {
      #expect(!VirtualBoxWords.all[..<index].contains { $0.of == entry.of && $0.word == entry.word }, "\(entry)")
    }
  }

  @Test(arguments: [
    ("startvm", "startvm", 0), ("starvm", "startvm", 1), ("strartvm", "startvm", 1), ("satrtvm", "startvm", 1),
    ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3),
  ])
  func distancesCountKeys(one: String, other: String, distance: Int) {
    #expect(VirtualBoxWords.distance(one, other) == distance)
  }

  @Test func thePageInTheDocumentationIsThisTable() throws {
    try WrittenPage.expect("virtualbox.md", is: VirtualBoxWords.table, suite: "VirtualBoxWordsTests")
  }

  // MARK: Command lines

  @Test(arguments: [
    (["-v"], ["--version"]), (["-q", "list", "vms"], ["list", "vms"]), (["-help"], ["--help"]),
    (["modifyvm", "a", "--memory", "-5"], ["modifyvm", "a", "--memory=-5"]),
    (["modifyvm", "a", "--append", "-s"], ["modifyvm", "a", "--append=-s"]),
    (["modifyvm", "a", "--append", "--memory", "5"], ["modifyvm", "a", "--append", "--memory", "5"]),
    (["modifyvm", "a", "--memory=512"], ["modifyvm", "a", "--memory=512"]),
    (["run", "--", "x", "--memory", "-5"], ["run", "--", "x", "--memory", "-5"]), ([], []),
  ])
  func habitsAreUnderstood(words: [String], expected: [String]) {
    #expect(CommandWords.normalized(words) == expected)
  }

  @Test func aChangeOfNothingAndHelpForNothingAreTold() {
    func complaint(_ words: String...) -> String? { CommandWords.complaint(about: words, known: Self.known) }
    #expect(complaint("modifyvm", "box")?.contains("changes nothing") == true)
    #expect(complaint("modifyvm", "box", "--memory", "5") == nil)
    #expect(complaint("modifyvm", "--help") == nil)
    #expect(complaint("help", "nosuch")?.contains("\"nosuch\"") == true)
    #expect(complaint("help") == nil && complaint("help", "startvm") == nil && complaint() == nil)
    #expect(complaint("--version") == nil)
  }

  @Test func theParsersComplaintGetsAHint() {
    #expect(
      CommandWords.hint(about: ["modifyvm", "a"], complaint: "Unknown option '--hostonlyadapter1'", verbs: [])
        == "--hostonlyadapter1 is not built yet: network cards")
    #expect(
      CommandWords.hint(
        about: ["controlvm", "a", "poweroof"], complaint: "The value 'poweroof' is invalid for '<verb>'",
        verbs: ["poweroff"])
        == "the nearest is \"poweroff\"")
    #expect(
      CommandWords.hint(about: ["controlvm"], complaint: "The value 'usbattach' is invalid for '<verb>'", verbs: [])
        == "usbattach is not built yet: USB")
  }
}
