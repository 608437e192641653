import Foundation
import DiskImages
import Machine
import Teleport
import Testing

@testable import Management

@Suite struct MismatchWordsTests {
  private static func blob(_ name: String, _ setting: String, path: String? = nil, text: String? = nil)
    -> HardwareDescription.Blob
  {
    // A public memberwise initialiser would be for tests alone: one is decoded.
    var fields = ["\"name\":\"\(name)\"", "\"setting\":\"\(setting)\"", "\"size\":9", "\"digest\":\"aabb\""]
    if let path { fields.append("\"path\":\"\(path)\"") }
    if let text { fields.append("\"text\":\"\(text)\"") }
    return decode(fields)
  }

  private static func slot(_ controller: String, _ port: Int, _ kind: String, _ mode: String, medium: String? = nil)
    -> HardwareDescription.StorageSlot
  {
    var fields = [
      "\"controller\":\"\(controller)\"", "\"bus\":\"ide\"", "\"port\":\(port)", "\"device\":0", "\"kind\":\"\(kind)\"",
      "\"mode\":\"\(mode)\"",
    ]
    if let medium { fields.append("\"medium\":{\"path\":\"\(medium)\",\"size\":1024,\"device\":1,\"inode\":5}") }
    return decode(fields)
  }

  private static func decode<T: Decodable>(_ fields: [String]) -> T {
    // Fixed texts, which fit the types.
    // swift-format-ignore: NeverUseForceTry
    try! JSONDecoder().decode(T.self, from: Data("{\(fields.joined(separator: ","))}".utf8))
  }

  static let remedies: [(HardwareMismatch, String)] = [
    (.setting(name: "memory", source: "16", target: "32"), "vmctl modifyvm box --memory 16"),
    (.setting(name: "uart1", source: "0x3f8 4", target: "off"), "vmctl modifyvm box --uart1 0x3f8 4"),
    (.setting(name: "uart2", source: "off", target: "0x2f8 3"), "vmctl modifyvm box --uart2 off"),
    (.setting(name: "warp", source: "9", target: nil), "use the same vmctl on both hosts"),
    (
      .cpuid(leaf: 0x4000_0000, subleaf: 0, source: [1, 2, 3, 4], target: nil),
      "vmctl modifyvm box --cpuid-set 0x40000000 0x1 0x2 0x3 0x4"
    ),
    (.cpuid(leaf: 7, subleaf: 1, source: nil, target: [1, 2, 3, 4]), "vmctl modifyvm box --cpuid-remove 0x7:1"),
    (
      .content(source: blob("firmware", "firmware", path: "/b.bin"), target: nil),
      "vmctl modifyvm box --firmware /b.bin  # a copy of the source's file"
    ),
    (.content(source: nil, target: blob("firmware", "firmware", path: "/b.bin")), "vmctl modifyvm box --firmware bios"),
    (.content(source: nil, target: blob("kernel", "kernel", path: "/k")), "vmctl modifyvm box --kernel none"),
    (
      .content(source: blob("command line", "append", text: "a=1 it's b"), target: nil),
      "vmctl modifyvm box --append 'a=1 it'\\''s b'"
    ),
    (.content(source: nil, target: blob("command line", "append", text: "a")), "vmctl modifyvm box --append ''"),
    (
      .content(source: blob("SeaBIOS", ""), target: nil),
      "install the same version of it as on the source (Debian's packages seabios and ipxe-qemu; vmctl)"
    ),
    (
      .drive(
        source: slot("IDE", 0, "hdd", "normal", medium: "/d.img"), target: nil, controller: "IDE", isMissing: true,
        doubt: nil),
      "vmctl storagectl box --name IDE --add ide; "
        + "vmctl storageattach box --storagectl IDE --port 0 --device 0 --type hdd --medium /d.img"
    ),
    (
      .drive(
        source: slot("IDE", 1, "dvddrive", "normal"), target: nil, controller: "My PIIX", isMissing: false, doubt: nil),
      "vmctl storageattach box --storagectl 'My PIIX' --port 1 --device 0 --type dvddrive --medium emptydrive"
    ),
    (
      .drive(
        source: nil, target: slot("IDE", 1, "dvddrive", "readonly"), controller: "IDE", isMissing: false, doubt: nil),
      "vmctl storageattach box --storagectl IDE --port 1 --device 0 --type dvddrive --medium none --mtype readonly"
    ),
  ]

  @Test(arguments: remedies)
  func everyDifferenceHasTheCommandThatRemovesIt(_ mismatch: HardwareMismatch, _ remedy: String) {
    #expect(MismatchWords.remedy(mismatch, machine: "box") == remedy)
  }

  @Test func aReportNamesTheTargetsMachine() {
    let error = TeleportError.hardware([.setting(name: "hpet", source: "on", target: "off")], machine: "my box")
    #expect(
      ManagementError.text(for: error) == """
        the machines' hardware does not match (a difference):
          HPET: source on, target off
            on the target: vmctl modifyvm 'my box' --hpet on
        """)
    let saved = SavedHardwareDiffers(mismatches: [.setting(name: "cpus", source: "1", target: "3")])
    let text = ManagementError.text(for: saved, machine: "box")
    #expect(text.hasSuffix("saved 1, now 3\n    vmctl modifyvm box --cpus 1"))
  }

  @Test func whatTheFloorsBelowReportIsCompletedByWhatToDo() {
    #expect(
      ManagementError.text(for: DiskImageError.notFound(path: "/a b"))
        == "there is no medium at /a b; "
        + "see that the path is right; a new disk is made with vmctl createmedium disk --filename '/a b' --size MB")
    let text = ManagementError.text(for: MachineError.notAKernel(path: "/k"), machine: "x")
    #expect(text.hasSuffix("modifyvm x --kernel FILE"))
    #expect(
      ManagementError.text(for: TeleportError.tooBusy(megabytes: 1, milliseconds: 300, allowed: 250))
        .hasSuffix("give --maxdowntime 600 or more, or a faster connection"))
  }
}
