import Foundation
import Teleport
import Testing

@testable import Management

/// Whoever asks a witness of one kind for one machine.
private struct Asker {
  var place: String
  var uuid = "11111111-2222-3333-4444-555555555555"
  var isTrusted = true

  func callAsFunction(
    _ verb: WitnessRequest.Verb, _ session: String? = nil, _ side: ProtectionSide? = nil
  ) -> WitnessAnswer {
    let request = WitnessRequest(verb: verb, place: place, uuid: uuid, name: "box", session: session, side: side)
    return WitnessProcess.serve(request, isTrusted: isTrusted)
  }
}

extension WitnessAnswer {
  fileprivate var reason: String { if case .unreachable(let why) = self { why } else { "" } }
}

/// What every witness must do.
private func exercise(_ ask: Asker) {
  #expect(ask(.check) == .won)
  #expect(ask(.claim, "one", .backup) == .lost, "nothing is protected yet")
  #expect(ask(.establish, "one") == .won)
  #expect(ask(.claim, "another", .backup) == .lost)
  #expect(ask(.claim, "one", .backup) == .won)
  #expect(ask(.claim, "one", .backup) == .won, "asked again by who has it")
  #expect(ask(.claim, "one", .primary) == .lost)
  // The survivor is protected again.
  #expect(ask(.establish, "two") == .won)
  #expect(ask(.claim, "one", .primary) == .lost)
  #expect(ask(.claim, "two", .primary) == .won)
  #expect(ask(.claim, "two", .backup) == .lost)
  let other = Asker(place: ask.place, uuid: "66666666-2222-3333-4444-555555555555")
  #expect(other(.check) == .won, "what is in its place is of a protection that has ended")
  #expect(ask(.establish, "three") == .won)
  if !ask.place.hasPrefix("etcd:") {
    #expect(other(.check).reason.contains("another machine"))
    #expect(other(.establish, "four").reason.contains("another machine"))
  }
}

/// Both sides at once, often: exactly one of them gets it.
private func race(_ ask: Asker, rounds: Int) async {
  for round in 0..<rounds {
    #expect(ask(.establish, "race\(round)") == .won)
    let answers = await withTaskGroup(of: WitnessAnswer.self) { group in
      for side in [ProtectionSide.primary, .backup] { group.addTask { ask(.claim, "race\(round)", side) } }
      return await group.reduce(into: [WitnessAnswer]()) { $0.append($1) }
    }
    #expect(answers.filter { $0 == .won }.count == 1)
    #expect(answers.filter { $0 == .lost }.count == 1)
  }
}

struct WitnessTests {
  private let folder = FileManager.default.temporaryDirectory.path + "/vmctl-witness-\(UUID().uuidString)"

  private func inFolder(_ body: () async throws -> Void) async throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try await body()
  }

  @Test func aFileGivesTheMachineToOneSide() async throws {
    try await inFolder {
      let ask = Asker(place: "file:\(folder)/witness")
      exercise(ask)
      await race(ask, rounds: 50)
    }
  }

  @Test func aFileThatIsNoneIsNotTouched() async throws {
    try await inFolder {
      let path = folder + "/precious"
      try Data("somebody's letter\n".utf8).write(to: URL(fileURLWithPath: path))
      let ask = Asker(place: "file:\(path)")
      #expect(ask(.check).reason.contains("holds something else"))
      #expect(ask(.establish, "one").reason.contains("holds something else"))
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "somebody's letter\n")
      #expect(Asker(place: "file:\(folder)")(.check) != .won)
      mkfifo(folder + "/fifo", 0o600)
      #expect(Asker(place: "file:\(folder)/fifo")(.check).reason.contains("is no file"))
      symlink(path, folder + "/link")
      #expect(Asker(place: "file:\(folder)/link")(.check) != .won)
    }
  }

  /// The backup's process does what the primary says, which may be anybody who knows the password.
  @Test func whatAnotherHostNamesIsNeitherMadeNorRun() async throws {
    try await inFolder {
      let file = Asker(place: "file:\(folder)/new", isTrusted: false)
      #expect(file(.check) != .won)
      #expect(!FileManager.default.fileExists(atPath: folder + "/new"))
      let program = Asker(place: "command:touch \(folder)/run", isTrusted: false)
      #expect(program(.claim, "one", .backup).reason.contains("is not run here"))
      #expect(!FileManager.default.fileExists(atPath: folder + "/run"))
      let request = WitnessRequest(
        verb: .claim, place: program.place, uuid: program.uuid, name: "box", session: "one", side: .backup)
      #expect(WitnessProcess.serve(request, isTrusted: false, command: "exit 1") == .lost, "this host's own decides")
      #expect(!FileManager.default.fileExists(atPath: folder + "/run"))
    }
  }

  @Test func aRecordThatHasGoneDecidesNothing() async throws {
    try await inFolder {
      let ask = Asker(place: "file:\(folder)/witness")
      #expect(ask(.check) == .won && ask(.establish, "one") == .won)
      try Data().write(to: URL(fileURLWithPath: folder + "/witness"))
      #expect(ask(.claim, "one", .backup).reason.contains("has lost its record"))
      unlink(folder + "/witness")
      #expect(ask(.claim, "one", .primary) != .won)
    }
  }

  @Test(arguments: [("exit 0", WitnessAnswer.won), ("exit 1", .lost)])
  func aProgramDecides(line: String, answer: WitnessAnswer) {
    #expect(Asker(place: "command:\(line)")(.claim, "one", .primary) == answer)
    let told = Asker(place: "command:test \"$VMCTL_SIDE $VMCTL_SESSION $VMCTL_NAME\" = \"backup one box\" && \(line)")
    #expect(told(.claim, "one", .backup) == answer)
    #expect(
      Asker(place: "command:echo no power switch; exit 3")(.claim, "one", .primary).reason.contains("no power switch"))
  }

  @Test func aLookDecidesNothing() async throws {
    try await inFolder {
      let ask = Asker(place: "file:\(folder)/witness")
      #expect(ask(.check) == .won && ask(.establish, "one") == .won)
      #expect(ask(.look, "one", .primary).reason.contains("nobody has asked"))
      #expect(ask(.claim, "one", .backup) == .won)
      #expect(ask(.look, "one", .primary) == .lost && ask(.look, "one", .backup) == .won)
      // The survivor's own protection has begun, of a machine with another UUID.
      let survivor = Asker(place: ask.place, uuid: "66666666-2222-3333-4444-555555555555")
      #expect(survivor(.check) == .won && survivor(.establish, "two") == .won && survivor(.check) == .won)
      #expect(ask(.look, "one", .primary) == .lost && ask(.claim, "one", .primary) == .lost)
      let program = Asker(place: "command:touch \(folder)/run")
      #expect(program(.look, "one", .primary).reason.contains("not asked"))
      #expect(!FileManager.default.fileExists(atPath: folder + "/run"))
    }
  }

  /// What a VM process that its guest has broken into could ask for.
  @Test func nothingIsStartedForAMachineThatWasNotTakenOver() {
    var request = WitnessRequest(verb: .reprotect, place: "", uuid: "u", name: "box")
    request.reprotection = Reprotection(
      backup: HostPlace(host: "a", port: 1), survivor: HostPlace(host: "b", port: 1), intervalMS: 200, compresses: true)
    func answer(_ machine: String?, _ taken: String?) -> String {
      let backup = machine.map {
        WitnessProcess.Backup(VMEntry(folder: VMFolder(path: folder), definition: VMDefinition(name: $0)), .init())
      }
      return WitnessProcess.reprotect(request, backup, taken: taken).reason
    }
    #expect(answer("m", nil).contains("nothing was taken over"))
    #expect(answer(nil, "file:/w").contains("nothing was taken over"))
    request.reprotection?.backup.host = "--force"
    #expect(answer("m", "file:/w").contains("change places"))
    request.reprotection = nil
    #expect(answer("m", "file:/w").contains("nothing was taken over"))
    #expect(
      WitnessProcess.serve(request, isTrusted: true) != .won, "it is no question to a witness")
  }

  @Test func aMachineThatWasLostIsToBeABackupWhereThatWasWanted() async throws {
    try await inFolder {
      let temporary = try TemporaryRegistry()
      let entry = try temporary.registry.create(VMDefinition(name: "box"))
      let ask = Asker(place: "file:\(folder)/witness", uuid: entry.definition.uuid.uuidString.lowercased())
      let place = HostPlace(host: "10.0.0.1", port: 6000)
      var record = ProtectionRecord(witness: ask.place, session: "one", peer: "b port 1")
      record.returning = ReturningMachine(place: place, passwordFile: "/secret")
      // Nobody has anything before the witness knows of it, whoever had the machine before.
      #expect(ask(.check) == .won && ask(.establish, "zero") == .won && ask(.claim, "zero", .backup) == .won)
      record.isEstablished = false
      try record.write(entry.folder)
      #expect(try ProtectionRecord.settle(entry, force: false) == nil)
      #expect(ReplicaRecord.read(entry.folder) == nil)
      // It is asked: first by this side, then by the other.
      record.isEstablished = true
      for side in [ProtectionSide.primary, .backup] {
        try record.write(entry.folder)
        #expect(ask(.establish, "one") == .won)
        #expect(entry.sideAfterLoss() == nil)
        #expect(ask(.claim, "one", side) == .won)
        #expect(entry.sideAfterLoss() == side)
        #expect(try (ProtectionRecord.settle(entry, force: false) == nil) == (side == .primary))
        #expect((ReplicaRecord.read(entry.folder) == nil) == (side == .primary))
        #expect((ProtectionRecord.read(entry.folder) == nil) == (side == .primary))
      }
      #expect(try ProtectionRecord.settle(entry, force: true) == nil, "who insists starts it")
      record.returning = nil
      try record.write(entry.folder)
      #expect(throws: ManagementError.self) { try ProtectionRecord.settle(entry, force: false) }
    }
  }

  @Test func aMachineThatReturnsWaitsWithWhatTheOtherHostKnows() throws {
    var own = VMDefinition.Teleporter()
    own.password = "mine"
    func waiting(_ host: String, _ file: String?, own isOwn: Bool = false) -> VMDefinition.Teleporter {
      ReturningMachine(place: HostPlace(host: host, port: 7), passwordFile: file, usesOwnPassword: isOwn)
        .teleporter(own, witness: "command:fence")
    }
    let plain = waiting("10.0.0.1", "/secret")
    #expect(plain.enabled && plain.port == 7 && plain.password == nil && plain.passwordFile == "/secret")
    #expect(plain.address == nil && plain.witnessCommand == "fence")
    #expect(waiting("fe80::1", "/secret").address == "::" && waiting("::1", nil).address == "::1")
    #expect(waiting("::1", nil, own: true).password == "mine" && waiting("::1", nil, own: true).address == "::")
    own.address = "10.0.0.9"
    own.witnessCommand = "ours"
    #expect(waiting("fe80::1", "/secret").address == "10.0.0.9" && waiting("a", nil).witnessCommand == "ours")
  }

  @Test func wrongPlacesAreTold() {
    for text in ["", "file", "file:", "etcd:", "etcd:https://host", "etcd:host:2379", "command:", "zookeeper:x"] {
      #expect(throws: ManagementError.self) { try WitnessPlace(text) }
    }
    #expect(throws: Never.self) { try WitnessPlace("etcd:http://[::1]:2379") }
  }

  @Test func answersOfServersAreTakenApart() throws {
    func content(_ text: String) throws -> String {
      String(decoding: try SmallHTTP.content(of: Array(text.utf8), from: "there"), as: UTF8.self)
    }
    #expect(try content("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}") == "{}")
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n"
    #expect(try content(chunks) == "{\"a\":1}")
    for bad in [
      "", "SSH-2.0-x\r\n", "HTTP/1.1 500 no\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx",
    ] {
      #expect(throws: ManagementError.self) { try content(bad) }
    }
  }

  static let etcd: String? = {
    let cache = ProcessInfo.processInfo.environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache"
    return ["/usr/bin/etcd", "/usr/local/bin/etcd", cache + "/vmctl/guests/etcd"].first { access($0, X_OK) == 0 }
  }()

  @Test(.enabled(if: etcd != nil, "etcd is not there: run scripts/fetch-tool etcd"))
  func etcdGivesTheMachineToOneSide() async throws {
    try await inFolder {
      let program = try #require(Self.etcd)
      let ports = try (freePort(), freePort())
      let (client, peer) = ("http://127.0.0.1:\(ports.0)", "http://127.0.0.1:\(ports.1)")
      let server = Process()
      server.executableURL = URL(fileURLWithPath: program)
      server.arguments = [
        "--data-dir", folder + "/etcd", "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=\(peer)",
      ]
      server.standardOutput = FileHandle.nullDevice
      server.standardError = FileHandle.nullDevice
      try server.run()
      defer {
        kill(server.processIdentifier, SIGKILL)
        server.waitUntilExit()
      }
      let ask = Asker(place: "etcd:\(client)")
      let end = Date().addingTimeInterval(300)
      while ask(.check) != .won && Date() < end { usleep(50_000) }
      exercise(ask)
      await race(ask, rounds: 20)
      kill(server.processIdentifier, SIGKILL)
      server.waitUntilExit()
      #expect(ask(.claim, "race19", .primary).reason.contains("cannot reach"))
    }
  }
}

private func freePort() throws -> Int {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = inet_addr("127.0.0.1")
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let done = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
    }
  }
  guard done else { throw ManagementError.system("no free port") }
  return Int(UInt16(bigEndian: address.sin_port))
}
