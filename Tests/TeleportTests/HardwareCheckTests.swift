import DiskImages
import Testing
import X86

@testable import Machine
@testable import Teleport

func sampleHardware() -> HardwareDescription {
  var configuration = MachineConfiguration()
  configuration.memoryMB = 16
  return HardwareDescription(
    settings: configuration.noticeable, cpuidLeaves: [],
    roms: [
      .init(name: "firmware", setting: "firmware", path: "/usr/share/seabios/bios.bin", size: 131072, digest: "aa")
    ],
    boot: [.init(name: "kernel", setting: "kernel", path: "/boot/k", size: 9, digest: "bb")],
    storage: [
      .init(
        controller: "IDE", bus: .ide, port: 0, device: 0, kind: .hdd, mode: .normal,
        medium: sampleMedium(mark: 77))
    ],
    devices: [.init(name: "uart1", kind: "uart16550", version: 1)])
}

func sampleMedium(mark: UInt64?, inode: UInt64 = 5) -> MediumIdentity {
  var medium = MediumIdentity(path: "/shared/d.img", size: 1024, device: 1, inode: inode)
  medium.mark = mark
  return medium
}

@Suite struct HardwareCheckTests {
  private func compare(_ source: HardwareDescription, _ target: HardwareDescription) -> [HardwareMismatch] {
    HardwareCheck.compare(source: source, target: target)
  }

  @Test(arguments: [
    (sampleMedium(mark: nil), "lock is not seen"), (sampleMedium(mark: 78), "lock is not seen"),
    (sampleMedium(mark: nil, inode: 6), "inode 6 instead of 5"),
  ])
  func samePathSizeAndInodeProveNothing(medium: MediumIdentity, reason: String) {
    var target = sampleHardware()
    target.storage[0].medium = medium
    let found = compare(sampleHardware(), target)
    #expect(found.count == 1)
    #expect(found.first?.targetText.contains(reason) == true, "\(found)")
  }

  @Test func theMarkProvesTheFileWhateverItsPathAndNumbersAre() {
    var target = sampleHardware()
    target.storage[0].medium = sampleMedium(mark: 77, inode: 900)
    target.storage[0].medium?.path = "/mnt/elsewhere"
    #expect(compare(sampleHardware(), target).isEmpty)
  }

  @Test func anOlderSourceThatProvesNothingIsRefused() {
    var source = sampleHardware()
    source.storage[0].medium?.mark = nil
    let found = compare(source, sampleHardware())
    #expect(found.first?.targetText.contains("same vmctl") == true)
  }

  @Test func aMediumThatIsOnlyReadMayBeACopy() {
    var source = sampleHardware()
    source.storage[0].mode = .readonly
    source.storage[0].medium = sampleMedium(mark: nil)
    source.storage[0].medium?.samples = MediumSamples(blocks: [.init(offset: 0, checksum: 1)])
    var target = source
    target.storage[0].medium?.inode = 99
    #expect(compare(source, target).isEmpty)
    target.storage[0].medium?.samples?.blocks[0].checksum = 2
    let found = compare(source, target)
    #expect(found.first?.targetText.contains("at byte 0") == true)
  }

  @Test func equalMachinesMatch() { #expect(compare(sampleHardware(), sampleHardware()).isEmpty) }

  @Test func everyDifferenceIsToldAtOnce() {
    let source = sampleHardware()
    var target = source
    let settings = [
      "memory": "32", "vram": "8", "cpus": "2", "cpu-profile": "qemu64", "boot1": "disk", "hpet": "off",
      "debug-ports": "on", "rtc-use-utc": "off", "uart1": "off", "uart2": "0x2f8 3",
    ]
    target.settings.merge(settings) { $1 }
    target.roms[0].digest = "cc"
    target.boot = []
    target.storage[0].medium?.size = 2048
    let empty = HardwareDescription.StorageSlot(
      controller: "IDE", bus: .ide, port: 1, device: 0, kind: .dvddrive, mode: .readonly, medium: nil)
    target.storage.append(empty)
    var expected = settings.map {
      HardwareMismatch.setting(name: $0.key, source: source.settings[$0.key] ?? "", target: $0.value)
    }
    expected.append(.content(source: source.roms[0], target: target.roms[0]))
    expected.append(.content(source: source.boot[0], target: nil))
    expected.append(
      .drive(
        source: source.storage[0], target: target.storage[0], controller: "IDE", isMissing: false,
        doubt: source.storage[0].medium?.doubt(about: target.storage[0].medium!, isWritten: true)))
    expected.append(.drive(source: nil, target: empty, controller: "IDE", isMissing: false, doubt: nil))
    let found = compare(source, target)
    for mismatch in expected { #expect(found.contains(mismatch), "\(mismatch)") }
    #expect(found.count == expected.count)
  }

  @Test func aSettingThatABuildDidNotKnowHasItsDefault() {
    var older = sampleHardware()
    older.settings["hpet"] = nil
    #expect(compare(older, sampleHardware()).isEmpty)
    #expect(compare(sampleHardware(), older).isEmpty)
    var off = sampleHardware()
    off.settings["hpet"] = "off"
    #expect(compare(older, off) == [.setting(name: "hpet", source: "on", target: "off")])
  }

  @Test func aSettingThatThisBuildDoesNotKnowIsADifference() {
    var newer = sampleHardware()
    newer.settings["warp"] = "9"
    #expect(compare(newer, sampleHardware()) == [.setting(name: "warp", source: "9", target: nil)])
  }

  @Test func aControllersNameMayDifferAndTheTargetsIsUsed() {
    var target = sampleHardware()
    target.storage = []
    let slot = sampleHardware().storage[0]
    #expect(
      compare(sampleHardware(), target) == [
        .drive(source: slot, target: nil, controller: "IDE", isMissing: true, doubt: nil)
      ])
    target.controllers = [.init(name: "PIIX", bus: .ide)]
    #expect(
      compare(sampleHardware(), target) == [
        .drive(source: slot, target: nil, controller: "PIIX", isMissing: false, doubt: nil)
      ])
    target.storage = sampleHardware().storage
    target.storage[0].controller = "PIIX"
    #expect(compare(sampleHardware(), target).isEmpty)
  }

  @Test func anotherFirmwareIsOneDifference() {
    let target = sampleHardware()
    var source = sampleHardware()
    source.roms = [.init(name: "SeaBIOS", setting: "", path: "/usr/share/bios.bin", size: 9, digest: "aa")]
    #expect(compare(source, target) == [.content(source: nil, target: target.roms[0])])
    #expect(compare(target, source) == [.content(source: target.roms[0], target: nil)])
  }

  @Test func leavesThatAnotherProfileDoesNotExplainAreToldWithIt() throws {
    var source = sampleHardware()
    var target = sampleHardware()
    let profile = try #require(CPUProfile.named("x86-64-v2"))
    let changed = CPUIDLeaf(0x4000_0000, eax: 1, ebx: 2, ecx: 3, edx: 4)
    source.cpuidLeaves = profile.setting(changed).leaves
    let other = try #require(CPUProfile.all.first { $0.name != "x86-64-v2" })
    target.settings["cpu-profile"] = other.name
    target.cpuidLeaves = other.leaves
    #expect(
      compare(source, target) == [
        .setting(name: "cpu-profile", source: "x86-64-v2", target: other.name),
        .cpuid(leaf: 0x4000_0000, subleaf: 0, source: [1, 2, 3, 4], target: nil),
      ])
  }

  @Test func anotherPortabilityLevelIsOneDifferenceAndNotItsLeaves() throws {
    var source = sampleHardware()
    var target = sampleHardware()
    source.settings["cpuid-portability-level"] = "1"
    source.cpuidLeaves = try #require(HardwareDescription.cpuidLeaves(of: source.settings))
    target.cpuidLeaves = try #require(HardwareDescription.cpuidLeaves(of: target.settings))
    #expect(source.cpuidLeaves != target.cpuidLeaves)
    #expect(compare(source, target) == [.setting(name: "cpuid-portability-level", source: "1", target: "0")])
    // A build that does not know the setting has the default.
    target.settings["cpuid-portability-level"] = nil
    source.settings["cpuid-portability-level"] = "0"
    source.cpuidLeaves = target.cpuidLeaves
    #expect(compare(source, target).isEmpty)
  }

  @Test func aNewerBuildReadsAnOlderOnesDevicesAndNotTheReverse() {
    var newer = sampleHardware()
    newer.devices[0].version = 2
    #expect(compare(sampleHardware(), newer).isEmpty)
    #expect(
      compare(newer, sampleHardware()) == [.device(source: newer.devices[0], target: sampleHardware().devices[0])])
  }

  @Test func cpuidIsComparedLeafByLeaf() {
    var target = sampleHardware()
    var source = sampleHardware()
    source.cpuidLeaves = [CPUIDLeaf(1, eax: 1, ebx: 2, ecx: 3, edx: 4)]
    target.cpuidLeaves = [CPUIDLeaf(7, 1, eax: 1, ebx: 2, ecx: 3, edx: 4)]
    #expect(
      compare(source, target) == [
        .cpuid(leaf: 1, subleaf: 0, source: [1, 2, 3, 4], target: nil),
        .cpuid(leaf: 7, subleaf: 1, source: nil, target: [1, 2, 3, 4]),
      ])
  }
}
